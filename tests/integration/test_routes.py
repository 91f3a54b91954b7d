"""The routes that read: their answers, pages, downloads and images, and who may see them (contract, section 4)."""

import base64
import csv
import io
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Engine
from starlette.routing import Route

from halftone_api.routes import ROUTES
from halftone_shared.api_keys import create_key, revoke_key
from halftone_shared.image_names import image_name, storage_path
from tests.support.api import HEADER, Api, api_settings, forget_requests, multipart, path_of, running_api
from tests.support.halftone import free_port, wait_for
from tests.support.postgres import TestPostgres
from tests.support.stored import claimed, execute, failed_image, finish, good_image, query, settle

URL = "http://images.example/1.jpg"


@pytest.fixture(scope="module")
def open_api(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(api_settings(postgres.new_database(), tmp_path_factory.mktemp("storage"))) as api:
        yield api


@pytest.fixture
def api(open_api: Api) -> Iterator[Api]:
    """An API that asks for no keys."""
    yield open_api
    forget_requests(open_api.engine)


@pytest.fixture(scope="module")
def guarded_api(open_api: Api) -> Iterator[Api]:
    with running_api(open_api.settings.model_copy(update={"auth": "keys"})) as api:
        yield api


@pytest.fixture
def guarded(guarded_api: Api) -> Iterator[Api]:
    """An API with keys."""
    yield guarded_api
    forget_requests(guarded_api.engine)


def upload(api: Api, products: int = 1, *, images: int = 1, **how: Any) -> UUID:
    """Upload that many products; the request's ID."""
    urls = ",".join(f"http://images.example/{position}.jpg" for position in range(1, images + 1))
    response = api.upload(HEADER + "".join(f'{n},SKU{n},"{urls}"\n' for n in range(1, products + 1)), **how)
    assert response.status_code == 202, response.text
    return UUID(response.json()["request_id"])


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert {"type", "title", "detail", "instance"} <= problem.keys()
    return problem


# --- what every route has ---


def test_upload_is_accepted_with_the_way_to_its_status(api: Api) -> None:
    response = api.upload(HEADER + f'1,A,"{URL},{URL}"\n2,B,"{URL},{URL}"\n')
    assert response.status_code == 202
    body = response.json()
    request_id = body.pop("request_id")
    assert UUID(request_id).version == 4
    assert body == {
        "message": "CSV received and processing started.",
        "status": "PENDING",
        "total_products": 2,
        "total_images": 4,
        "warning_count": 0,
        "warnings": [],
        "links": {
            "status": f"http://api.example/api/status/{request_id}",
            "details": f"http://api.example/api/details/{request_id}",
            "download": f"http://api.example/api/download/{request_id}",
        },
    }
    assert response.headers["location"] == f"/api/status/{request_id}"
    assert int(response.headers["retry-after"]) > 0
    status = api.get(response.headers["location"]).json()
    assert (status["request_id"], status["status"], status["progress"]) == (request_id, "PENDING", 0)
    assert (status["total_products"], status["total_images"], status["csv_filename"]) == (2, 4, "products.csv")


def test_trailing_slash_changes_nothing_on_any_route(api: Api) -> None:
    request_id = upload(api)
    name = ended_with_image(api, request_id)
    for path in (
        "/healthz",
        "/readyz",
        "/api/requests",
        f"/api/status/{request_id}",
        f"/status/{request_id}",
        f"/api/details/{request_id}",
        f"/api/download/{request_id}",
        f"/api/image/{name}",
        "/nowhere",
    ):
        plain, slashed = api.get(path), api.get(path + "/")
        assert slashed.status_code == plain.status_code
        if path != "/nowhere":
            assert (plain.status_code, slashed.content) == (200, plain.content)
    assert api.get(f"/api/details/{request_id}/?limit=0").status_code == 400
    for path in ("/api/upload/", "/upload/"):
        upload(api, path=path)


def test_aliases_answer_as_the_routes_that_they_stand_for(api: Api) -> None:
    request_id = upload(api, path="/upload")
    assert api.get(f"/status/{request_id}").json() == api.get(f"/api/status/{request_id}").json()
    assert api.get(f"/status/{uuid4()}").status_code == 404


@pytest.mark.parametrize("given", ["a", "8243ff57-0000-4000-8000-000000000001", "trace:1.2_3-X", "x" * 128])
def test_sane_request_id_is_echoed(api: Api, given: str) -> None:
    assert api.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a,b", 'a"b', "é", "a;b", "a/b"])
def test_other_request_id_is_replaced(api: Api, given: str) -> None:
    echoed = api.get("/healthz", headers={"X-Request-Id": given.encode()}).headers["x-request-id"]
    assert echoed != given
    assert UUID(echoed).version == 4


def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    request_id = upload(api)
    answers = [
        api.get("/"),
        api.get("/healthz"),
        api.get(f"/api/status/{request_id}"),
        api.get(f"/api/download/{request_id}"),
        api.get("/nowhere"),
        api.call("DELETE", "/api/upload"),
        api.upload("", filename="a.txt"),
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/", "/api/status", "/api/nowhere/x", "/upload/x", "/api/image", "/etc/passwd"]
)
def test_unknown_path_is_a_404_problem(api: Api, path: str) -> None:
    problem_of(api.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/upload"),
        ("PUT", "/upload"),
        ("POST", "/"),
        ("POST", f"/api/status/{uuid4()}"),
        ("DELETE", f"/api/details/{uuid4()}"),
        ("PATCH", "/api/requests"),
        ("POST", "/api/image/x"),
    ],
)
def test_other_method_is_a_405_problem_that_says_which_are_allowed(api: Api, method: str, path: str) -> None:
    response = api.call(method, path)
    problem_of(response, 405, "method_not_allowed")
    assert method not in response.headers["allow"]
    assert {"GET", "POST"} & set(response.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize("route", ["/api/status", "/status", "/api/details", "/api/download"])
@pytest.mark.parametrize(
    "text",
    [
        "8243ff57-0000-4000-8000-000000000001",
        "8243ff5700004000800000000000001",
        "{8243ff57-0000-4000-8000-000000000001}",
        "urn:uuid:8243ff57-0000-4000-8000-000000000001",
        "1",
        "%00",
        "%ff",
        "'%20OR%201=1--",
        "x" * 5000,
    ],
)
def test_unknown_request_is_404(api: Api, route: str, text: str) -> None:
    problem_of(api.get(f"{route}/{text}"), 404, "not_found")


# --- status ---


def test_status_is_answered_304_until_it_changes(api: Api) -> None:
    request_id = upload(api, 2)
    first = api.get(f"/api/status/{request_id}")
    etag = first.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', etag), "a strong one"
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = api.get(f"/api/status/{request_id}", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for given in ('"other"', etag.strip('"'), ""):
        again = api.get(f"/api/status/{request_id}", headers={"If-None-Match": given})
        assert (again.status_code, again.json()) == (200, first.json())

    settle(api.engine, claimed(api.engine, request_id, 1))
    changed = api.get(f"/api/status/{request_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert (changed.json()["status"], changed.json()["progress"]) == ("PROCESSING", 50)


def test_status_includes_the_first_page_of_products_when_asked(api: Api) -> None:
    request_id = upload(api, 101)
    plain = api.get(f"/api/status/{request_id}")
    included = api.get(f"/api/status/{request_id}?include=products")
    body = included.json()
    assert [product["line"] for product in body.pop("products")] == list(range(2, 102))
    rest = api.get(f"/api/details/{request_id}", params={"cursor": body.pop("next_cursor")}).json()
    assert [product["line"] for product in rest["products"]] == [102]
    assert body == plain.json()
    assert included.headers["etag"] != plain.headers["etag"]


def test_ended_request_says_so_everywhere(api: Api) -> None:
    request_id = upload(api, 2)
    finish(api.engine, request_id, 2)
    status = api.get(f"/api/status/{request_id}").json()
    assert (status["status"], status["outcome"], status["progress"]) == ("COMPLETED", "succeeded", 100)
    assert (status["processed_products"], status["processed_images"]) == (2, 2)
    assert (status["bytes_in"], status["bytes_out"], status["bytes_saved"]) == (200, 80, 120)
    assert status["completed_at"].endswith("Z")
    assert api.get(path_of(status["output_csv_url"])).status_code == 200


# --- details ---


def pages(api: Api, path: str, **parameters: Any) -> list[list[dict[str, Any]]]:
    """Every page of a list, by following next_cursor."""
    found = []
    cursor = None
    while True:
        response = api.get(path, params=parameters | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        body = response.json()
        found.append(body["products"] if "products" in body else body["requests"])
        cursor = body["next_cursor"]
        if cursor is None:
            return found
        assert len(found) < 1000


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [(None, [100, 100, 50]), (250, [250]), (249, [249, 1]), (125, [125, 125]), (1000, [250]), (90, [90, 90, 70])],
)
def test_details_page_through_the_products_in_order(api: Api, limit: int | None, sizes: list[int]) -> None:
    request_id = upload(api, 250)
    found = pages(api, f"/api/details/{request_id}", **({"limit": limit} if limit else {}))
    assert [len(page) for page in found] == sizes
    products = [product for page in found for product in page]
    assert [product["serial_number"] for product in products] == list(range(1, 251))
    assert [product["line"] for product in products] == list(range(2, 252))


def test_details_begin_with_the_status_object(api: Api) -> None:
    request_id = upload(api, images=2)
    body = api.get(f"/api/details/{request_id}").json()
    (product,) = body.pop("products")
    assert body.pop("next_cursor") is None
    assert body == api.get(f"/api/status/{request_id}").json()
    assert product["input_image_urls"] == ["http://images.example/1.jpg", "http://images.example/2.jpg"]
    assert product["output_image_urls"] == [None, None]


def test_details_of_one_status_alone(api: Api) -> None:
    request_id = upload(api, 30, images=2)
    for seq in range(1, 26):
        wanted = failed_image() if seq % 5 == 0 else good_image()
        settle(api.engine, claimed(api.engine, request_id, seq), wanted, failed_image())
    claimed(api.engine, request_id, 26)

    def serials(**parameters: Any) -> list[int]:
        found = pages(api, f"/api/details/{request_id}", **parameters)
        return [product["serial_number"] for page in found for product in page]

    failed = [5, 10, 15, 20, 25]
    assert serials(status="FAILED") == failed
    assert serials(status="failed", limit=2) == failed
    assert serials(status="COMPLETED", limit=3) == [seq for seq in range(1, 26) if seq not in failed]
    assert serials(status="PROCESSING") == [26]
    assert serials(status="PENDING") == [27, 28, 29, 30]
    assert serials(status="CANCELLED") == []


# --- parameters ---


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("route", ["/api/details/{id}", "/api/requests"])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("limit", value) for value in ["0", "1001", "-1", "1.5", "x", "", "١", "1e2", " 1", "9" * 5000]),
        *(("status", value) for value in ["", "DONE", "COMPLETED,FAILED", "FAILED\0"]),
        *(("cursor", value) for value in ["", "x", "!", "é", "====", encoded("-1"), encoded("1.5"), encoded("1|2|3")]),
        ("cursor", encoded("9" * 10)),
        ("cursor", encoded("|")),
        ("cursor", encoded("١")),
        ("cursor", encoded("2026-01-01T00:00:00|8243ff57-0000-4000-8000-000000000001")),
        ("cursor", encoded("2026-01-01T00:00:00+00:00|8243")),
        ("cursor", encoded("never|8243ff57-0000-4000-8000-000000000001")),
    ],
)
def test_bad_parameter_is_named(api: Api, route: str, parameter: str, value: str) -> None:
    path = route.format(id=upload(api))
    problem = problem_of(api.get(path, params={parameter: value}), 400, "invalid_parameter")
    assert problem["parameter"] == parameter
    assert problem["detail"].startswith(f"{parameter}=")
    assert "expected" in problem["detail"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/status/{id}?include=images", "include"),
        ("/api/status/{id}?include=", "include"),
        ("/api/download/{id}?report=products", "report"),
        ("/api/download/{id}?safe=true", "safe"),
    ],
)
def test_bad_choice_is_named(api: Api, path: str, parameter: str) -> None:
    problem = problem_of(api.get(path.format(id=upload(api))), 400, "invalid_parameter")
    assert problem["parameter"] == parameter


# --- the list ---


def test_requests_are_listed_newest_first(api: Api) -> None:
    ids = [str(upload(api)) for _ in range(5)]
    (page,) = pages(api, "/api/requests")
    assert [request["request_id"] for request in page] == ids[::-1]
    assert page[0] == api.get(f"/api/status/{ids[-1]}").json()
    found = pages(api, "/api/requests", limit=2)
    assert [[request["request_id"] for request in page] for page in found] == [ids[:2:-1], ids[2:0:-1], [ids[0]]]


def test_list_pages_through_requests_of_the_same_moment(api: Api) -> None:
    ids = {str(upload(api)) for _ in range(7)}
    execute(api.engine, "UPDATE requests SET created_at = '2026-01-01T00:00:00.000001Z'")
    found = [request["request_id"] for page in pages(api, "/api/requests", limit=3) for request in page]
    assert len(found) == 7
    assert set(found) == ids


def test_upload_during_paging_does_not_shift_the_pages(api: Api) -> None:
    ids = [str(upload(api)) for _ in range(4)]
    first = api.get("/api/requests?limit=2").json()
    upload(api)
    second = api.get("/api/requests", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [request["request_id"] for request in first["requests"] + second["requests"]] == ids[::-1]


def test_list_of_one_status_alone(api: Api) -> None:
    pending, completed, failed = (upload(api) for _ in range(3))
    finish(api.engine, completed, 1)
    settle(api.engine, claimed(api.engine, failed, 1), failed_image())
    for status, request_id in (("PENDING", pending), ("COMPLETED", completed), ("failed", failed)):
        (page,) = pages(api, "/api/requests", status=status)
        assert [request["request_id"] for request in page] == [str(request_id)]
    assert pages(api, "/api/requests", status="CANCELLED") == [[]]


# --- the download ---


def test_download_waits_for_the_end(api: Api) -> None:
    request_id = upload(api, 2)
    path = f"/api/download/{request_id}"
    early = api.get(path)
    problem = problem_of(early, 409, "not_ended")
    assert (problem["request_status"], problem["progress"]) == ("PENDING", 0)
    assert int(early.headers["retry-after"]) > 0
    settle(api.engine, claimed(api.engine, request_id, 1), good_image("one.jpg"))
    problem = problem_of(api.get(path), 409, "not_ended")
    assert (problem["request_status"], problem["progress"]) == ("PROCESSING", 50)
    assert api.get(path, params={"report": "images"}).status_code == 409
    assert api.get(f"/api/status/{request_id}").json()["output_csv_url"] is None

    settle(api.engine, claimed(api.engine, request_id, 2), failed_image())
    ended = api.get(path)
    assert ended.status_code == 200
    assert ended.headers["content-type"] == "text/csv; charset=utf-8"
    assert ended.headers["x-content-type-options"] == "nosniff"
    assert ended.content.decode() == (
        "Serial Number,Product Name,Input Image Urls,Output Image Urls\r\n"
        f"1,SKU1,{URL},http://api.example/api/image/one.jpg\r\n"
        f"2,SKU2,{URL},\r\n"
    )


def test_failed_request_has_its_csv_too(api: Api) -> None:
    request_id = upload(api, images=3)
    settle(api.engine, claimed(api.engine, request_id, 1), *[failed_image()] * 3)
    (_, cells) = csv.reader(io.StringIO(api.get(f"/api/download/{request_id}").text))
    assert cells[-1] == ",,"


def test_upload_comes_back_byte_for_byte(api: Api) -> None:
    source = (
        "\ufeffNotes;Serial Number;input image urls;Product Name \r\n"
        f'"a;""b""\nc\r\nd"; 007 ;"{URL}, {URL}";Straße 名前 😀\r\n'
        f'=1+1;8;{URL};"\uff0b,\t"'
    )
    response = api.upload(source, filename="Katalog.csv")
    request_id = UUID(response.json()["request_id"])
    settle(api.engine, claimed(api.engine, request_id, 1), good_image("a.jpg"), failed_image())
    settle(api.engine, claimed(api.engine, request_id, 2), good_image("b.jpg"))
    files = "http://api.example/api/image"
    expected = (
        "Notes;Serial Number;input image urls;Product Name ;Output Image Urls\r\n"
        f'"a;""b""\nc\r\nd"; 007 ;{URL}, {URL};Straße 名前 😀;{files}/a.jpg,\r\n'
        f"=1+1;8;{URL};\uff0b,\t;{files}/b.jpg\r\n"
    )
    assert api.get(f"/api/download/{request_id}").content.decode() == expected
    safe = expected.replace("=1+1;", "'=1+1;").replace("\uff0b", "'\uff0b")
    assert api.get(f"/api/download/{request_id}?safe=spreadsheet").content.decode() == safe


def test_report_has_a_row_an_image(api: Api) -> None:
    request_id = upload(api, 2, images=2)
    for seq in (1, 2):
        settle(api.engine, claimed(api.engine, request_id, seq), good_image(f"{seq}.jpg"), failed_image())
    response = api.get(f"/api/download/{request_id}?report=images")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    lines = response.content.decode().split("\r\n")
    assert lines[0] == (
        "line,serial_number,product_name,position,input_url,output_url,status,action,error_code,http_status,message,"
        "bytes_in,bytes_out,saved_percent,width,height,format"
    )
    assert lines[1] == (
        f"2,1,SKU1,1,{URL},http://api.example/api/image/1.jpg,COMPLETED,compressed,,,,100,40,60.0,8,8,JPEG"
    )
    assert lines[2] == ("2,1,SKU1,2,http://images.example/2.jpg,,FAILED,,http_error,404,The server answered 404.,,,,,,")
    assert [line.split(",")[:4] for line in lines[3:5]] == [["3", "2", "SKU2", "1"], ["3", "2", "SKU2", "2"]]
    assert lines[5:] == [""]


def test_download_of_many_pages_is_whole_and_in_order(api: Api) -> None:
    request_id = upload(api, 2100)
    execute(
        api.engine,
        "UPDATE products SET status = 'COMPLETED', output_files = ARRAY['x.jpg'], images = '[null]'",
    )
    execute(
        api.engine,
        "UPDATE requests SET status = 'COMPLETED', outcome = 'succeeded', completed_at = now(), open_shards = 0,"
        " processed_products = total_products",
    )
    _, *rows = csv.reader(io.StringIO(api.get(f"/api/download/{request_id}").text))
    assert [int(cells[0]) for cells in rows] == list(range(1, 2101))


@pytest.mark.parametrize(
    ("filename", "plain"),
    [
        ("products.csv", "products-output.csv"),
        ("Q1.final.CSV", "Q1.final-output.csv"),
        ("../../etc/passwd.csv", "passwd-output.csv"),
        ("..\\\\..\\\\windows\\\\x.csv", "x-output.csv"),
        ('a\\"; filename=\\"evil.exe\\"; x=\\".csv', "a___filename=_evil.exe___x=_-output.csv".replace("=", "_")),
        ("a%0d%0aSet-Cookie: b=c.csv", "a_0d_0aSet-Cookie__b_c-output.csv"),
        ("a;b,c d.csv", "a_b_c_d-output.csv"),
        ("$(reboot)`x`.csv", "__reboot__x_-output.csv"),
        (".csv", "-output.csv"),
    ],
)
def test_download_has_a_harmless_name(api: Api, filename: str, plain: str) -> None:
    headers, body = multipart((f'name="file"; filename="{filename}"', f"{HEADER}1,A,{URL}\n".encode()))
    request_id = UUID(api.call("POST", "/api/upload", headers=headers, content=body).json()["request_id"])
    finish(api.engine, request_id, 1)
    assert disposition(api.get(f"/api/download/{request_id}"))[0] == plain
    assert disposition(api.get(f"/api/download/{request_id}?report=images"))[0] == plain.replace("-output", "-images")


@pytest.mark.parametrize(
    "stored",
    ["a\r\nSet-Cookie: b=c.csv", "a\nb.csv", 'a".csv', "名前 ä.csv", "a\u202egpj.csv", "no end", "x" * 250 + ".csv"],
)
def test_download_name_never_leaves_its_header(api: Api, stored: str) -> None:
    request_id = upload(api)
    execute(api.engine, "UPDATE requests SET csv_filename = :name", name=stored)
    finish(api.engine, request_id, 1)
    response = api.get(f"/api/download/{request_id}")
    plain, full = disposition(response)
    assert "set-cookie" not in response.headers
    assert re.fullmatch(r"[\w.-]+", plain, re.ASCII)
    assert full == stored.removesuffix(".csv") + "-output.csv"


def disposition(response: httpx.Response) -> tuple[str, str]:
    """The plain name and the one by RFC 6266, read by the standard library's parser."""
    assert response.status_code == 200
    raw = response.headers["content-disposition"]
    assert raw.isascii()
    assert raw.isprintable()
    plain = re.fullmatch(r"attachment; filename=\"([^\"\\]+)\"; filename\*=UTF-8''[\w.%~-]+", raw)
    assert plain is not None, raw
    message = Message()
    message["Content-Disposition"] = "attachment; " + raw.partition('"; ')[2]
    return plain.group(1), str(message.get_filename())


# --- images ---

DATA = bytes(range(256)) * 4
BIG = bytes(range(251)) * 4000  # several of the store's chunks


def ended_with_image(api: Api, request_id: UUID, *, extension: str = "jpg", data: bytes = DATA) -> str:
    """Settle the request's first product with one stored image; its name."""
    name = image_name(request_id, 1, 1, extension)
    api.store.put(name, data)
    settle(api.engine, claimed(api.engine, request_id, 1), good_image(name))
    return name


@pytest.mark.parametrize(
    ("extension", "media_type"),
    [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
        ("tif", "image/tiff"),
    ],
)
def test_image_is_served_with_its_type_and_nothing_to_run(api: Api, extension: str, media_type: str) -> None:
    name = ended_with_image(api, upload(api), extension=extension, data=b"<script>alert(1)</script>")
    response = api.get(f"/api/image/{name}")
    assert (response.status_code, response.content) == (200, b"<script>alert(1)</script>")
    assert response.headers["content-type"] == media_type
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "sandbox" in response.headers["content-security-policy"]
    assert {"immutable", "max-age=31536000"} <= set(response.headers["cache-control"].split(", "))
    assert response.headers["accept-ranges"] == "bytes"
    assert re.fullmatch(r'"[^"]+"', response.headers["etag"])


def test_output_url_of_a_product_leads_to_the_image(api: Api) -> None:
    request_id = upload(api)
    ended_with_image(api, request_id)
    (product,) = api.get(f"/api/details/{request_id}").json()["products"]
    assert api.get(path_of(product["output_image_urls"][0])).content == DATA


def test_big_image_is_served_whole(api: Api) -> None:
    name = ended_with_image(api, upload(api), data=BIG)
    assert api.get(f"/api/image/{name}").content == BIG


def test_image_is_answered_304_to_its_etag(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    first = api.get(f"/api/image/{name}")
    for given in (first.headers["etag"], "W/" + first.headers["etag"], '"x", ' + first.headers["etag"], "*"):
        again = api.get(f"/api/image/{name}", headers={"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert api.get(f"/api/image/{name}", headers={"If-None-Match": '"other"'}).content == DATA


def test_head_answers_as_get_without_the_body(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    got, asked = api.get(f"/api/image/{name}"), api.call("HEAD", f"/api/image/{name}")
    assert (asked.status_code, asked.content) == (200, b"")
    for header in ("content-type", "content-length", "etag", "cache-control", "accept-ranges"):
        assert asked.headers[header] == got.headers[header]


def test_head_takes_no_range(api: Api) -> None:
    """RFC 9110, 14.2: a server must ignore Range with any method but GET."""
    name = ended_with_image(api, upload(api))
    for wanted in ("bytes=0-9", "bytes=9999-"):
        response = api.call("HEAD", f"/api/image/{name}", headers={"Range": wanted})
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(DATA)))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=10-19", 10, 20),
        ("bytes=1023-1023", 1023, 1024),
        ("bytes=1000-", 1000, 1024),
        ("bytes=0-", 0, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-1", 1023, 1024),
        ("bytes=-5000", 0, 1024),
        ("bytes=1000-5000", 1000, 1024),
        ("bytes=0-1023", 0, 1024),
        ("bytes=0-999999999999999999", 0, 1024),
        ("bytes= 0 - 9", 0, 10),
    ],
)
def test_range_is_served(api: Api, wanted: str, start: int, end: int) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted})
    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert response.headers["content-length"] == str(end - start)
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_range_across_the_stores_chunks_is_served(api: Api) -> None:
    name = ended_with_image(api, upload(api), data=BIG)
    response = api.get(f"/api/image/{name}", headers={"Range": "bytes=200000-900000"})
    assert (response.status_code, response.content) == (206, BIG[200000:900001])


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=1024-2000", "bytes=999999999999999999-", "bytes=-0"])
def test_range_behind_the_end_is_416(api: Api, wanted: str) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted})
    problem_of(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=9-0",
        "bytes=-",
        "bytes=",
        "bytes=x-y",
        "bytes=0x0-9",
        "bytes=١-",
        "items=0-9",
        "0-9",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_range_that_is_none_or_many_is_answered_whole(api: Api, wanted: str) -> None:
    name = ended_with_image(api, upload(api))
    response = api.get(f"/api/image/{name}", headers={"Range": wanted.encode()})
    assert (response.status_code, response.content) == (200, DATA)
    assert "content-range" not in response.headers


def test_range_holds_only_for_the_etag_that_it_names(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    etag = api.get(f"/api/image/{name}").headers["etag"]
    same = api.get(f"/api/image/{name}", headers={"Range": "bytes=0-9", "If-Range": etag})
    assert (same.status_code, same.content) == (206, DATA[:10])
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2026 07:28:00 GMT"):
        response = api.get(f"/api/image/{name}", headers={"Range": "bytes=0-9", "If-Range": other})
        assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize(
    "shape",
    [
        "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f{name}",
        "%2fetc%2fpasswd",
        "..%5c..%5cetc%5cpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "images%2f{folder}%2f{name}",
        "{name}%00",
        "{name}%00.png",
        "{name}%0a",
        "{name}.html",
        "{name}%20",
        "{upper}",
        "{other_extension}",
        "{other_check}",
        "{other_slot}",
        "{other_token}",
        "%ff%fe",
        "x",
    ],
)
def test_name_that_was_never_handed_out_is_404(api: Api, shape: str) -> None:
    request_id = upload(api)
    name = ended_with_image(api, request_id)
    stem, _, check = name.removesuffix(".jpg").rpartition("-")
    path = shape.format(
        name=name,
        folder="%2f".join(storage_path(name).split("/")[1:-1]),
        upper=name.upper(),
        other_extension=name.replace(".jpg", ".png"),
        other_check=f"{stem}-{check[::-1]}.jpg",
        other_slot=image_name(request_id, 1, 2, "jpg"),
        other_token=image_name(uuid4(), 1, 1, "jpg"),
    )
    response = api.get(f"/api/image/{path}")
    problem_of(response, 404, "not_found")
    assert b"root:" not in response.content


def test_file_in_the_store_is_not_served_unless_a_finished_slot_names_it(api: Api) -> None:
    """Neither what somebody puts there, nor a link out of the folder, nor what an attempt left behind."""
    request_id = upload(api)
    stray, link = image_name(request_id, 1, 1, "png"), image_name(request_id, 1, 1, "webp")
    api.store.put(stray, DATA)
    target = _folder(api) / storage_path(link)
    target.symlink_to("/etc/passwd")
    for name in (stray, link):
        problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    settle(api.engine, claimed(api.engine, request_id, 1), good_image(image_name(request_id, 1, 1, "jpg")))
    for name in (stray, link):
        problem_of(api.get(f"/api/image/{name}"), 404, "not_found")


def test_link_out_of_the_store_is_not_followed(api: Api, tmp_path: Path) -> None:
    """Even at the place of an image that was handed out."""
    name = ended_with_image(api, upload(api))
    outside = tmp_path / "outside.txt"
    outside.write_text("not for the world")
    stored = _folder(api) / storage_path(name)
    stored.unlink()
    stored.symlink_to(outside)
    response = api.get(f"/api/image/{name}")
    assert b"not for the world" not in response.content
    problem_of(response, 404, "not_found")


def test_image_whose_file_is_gone_is_404(api: Api) -> None:
    name = ended_with_image(api, upload(api))
    (_folder(api) / storage_path(name)).unlink()
    problem_of(api.get(f"/api/image/{name}"), 404, "not_found")
    assert api.call("HEAD", f"/api/image/{name}").status_code == 404


def _folder(api: Api) -> Path:
    return Path(api.settings.storage_url.removeprefix("file://"))


# --- keys ---

API_ROUTES = [
    route
    for route in ROUTES
    if isinstance(route, Route) and re.match("/(api|upload|status)", route.path) and "filename" not in route.path
]
KEYED = [(sorted(route.methods or ())[0], route.path) for route in API_ROUTES]
OF_A_REQUEST = [(method, path) for method, path in KEYED if "{request_id}" in path]


def new_key(api: Api, name: str = "test") -> dict[str, str]:
    """The header of a new key."""
    with api.engine.connect() as connection:
        return {"Authorization": f"Bearer {create_key(connection, name)[1]}"}


def test_routes_with_keys_are_known_to_the_tests() -> None:
    assert {"/api/upload", "/upload", "/api/status/{request_id}", "/status/{request_id}", "/api/requests"} <= {
        path for _, path in KEYED
    }
    assert len(OF_A_REQUEST) >= 4


@pytest.mark.parametrize(("method", "path"), KEYED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ht_wrong"},
        {"Authorization": "Basic dXNlcjp3b3Jk"},
        {"X-Api-Key": "ht_wrong"},
    ],
    ids=["no header", "empty", "no key", "blank key", "wrong key", "another scheme", "another header"],
)
def test_call_without_a_good_key_is_401(guarded: Api, method: str, path: str, headers: dict[str, str]) -> None:
    key = new_key(guarded)
    request_id = upload(guarded, headers=key)
    response = guarded.call(method, path.format(request_id=request_id), headers=headers)
    problem_of(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert len(query(guarded.engine, "SELECT FROM requests")) == 1


def test_upload_without_a_key_stores_nothing(guarded: Api) -> None:
    problem_of(guarded.upload(f"{HEADER}1,A,{URL}\n"), 401, "unauthorized")
    assert query(guarded.engine, "SELECT FROM requests") == []


@pytest.mark.parametrize(
    "path", ["/api/requests?limit=0", "/api/requests?cursor=x", "/api/details/{id}?limit=0", "/api/status/nonsense"]
)
def test_key_is_asked_for_before_anything_else(guarded: Api, path: str) -> None:
    problem_of(guarded.get(path.format(id=uuid4())), 401, "unauthorized")


def test_revoked_key_is_401(guarded: Api) -> None:
    with guarded.engine.connect() as connection:
        key_id, key = create_key(connection, "test")
    header = {"Authorization": f"Bearer {key}"}
    request_id = upload(guarded, headers=header)
    assert guarded.get(f"/api/status/{request_id}", headers=header).status_code == 200
    with guarded.engine.connect() as connection:
        assert revoke_key(connection, key_id)
    for method, path in KEYED:
        response = guarded.call(method, path.format(request_id=request_id), headers=header)
        problem_of(response, 401, "unauthorized")


def test_key_works_whatever_the_case_of_its_scheme(guarded: Api) -> None:
    key = new_key(guarded)["Authorization"].removeprefix("Bearer ")
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer "):
        assert guarded.get("/api/requests", headers={"Authorization": f"{scheme} {key}"}).status_code == 200


@pytest.mark.parametrize(("method", "path"), OF_A_REQUEST)
def test_request_of_another_key_is_404(guarded: Api, method: str, path: str) -> None:
    mine, other = new_key(guarded, "mine"), new_key(guarded, "other")
    request_id = upload(guarded, headers=mine)
    finish(guarded.engine, request_id, 1)
    response = guarded.call(method, path.format(request_id=request_id), headers=other)
    hidden = problem_of(response, 404, "not_found")
    unknown = uuid4()
    absent = problem_of(guarded.call(method, path.format(request_id=unknown), headers=other), 404, "not_found")
    assert str(hidden).replace(str(request_id), str(unknown)) == str(absent), (
        "it can be told from one that is not there"
    )


def test_list_holds_only_the_keys_own_requests(guarded: Api) -> None:
    keys = [new_key(guarded), new_key(guarded)]
    ids = [[str(upload(guarded, headers=key)) for _ in range(3)] for key in keys]
    for key, own in zip(keys, ids, strict=True):
        listed = guarded.get("/api/requests", headers=key).json()["requests"]
        assert [request["request_id"] for request in listed] == own[::-1]


def test_cursor_of_another_key_leads_to_ones_own_requests(guarded: Api) -> None:
    mine, other = new_key(guarded), new_key(guarded)
    own = upload(guarded, headers=mine)
    for _ in range(2):
        upload(guarded, headers=other)
    cursor = guarded.get("/api/requests?limit=1", headers=other).json()["next_cursor"]
    listed = guarded.get("/api/requests", params={"cursor": cursor}, headers=mine).json()["requests"]
    assert [request["request_id"] for request in listed] == [str(own)]


def test_images_and_health_need_no_key(guarded: Api) -> None:
    name = ended_with_image(guarded, upload(guarded, headers=new_key(guarded)))
    assert guarded.get(f"/api/image/{name}").content == DATA
    for path in ("/", "/healthz", "/readyz"):
        assert guarded.get(path).status_code == 200


def test_key_is_stored_hashed(guarded: Api) -> None:
    key = new_key(guarded)["Authorization"].removeprefix("Bearer ")
    upload(guarded, headers={"Authorization": f"Bearer {key}"})
    (stored,) = query(guarded.engine, "SELECT to_jsonb(api_keys)::text AS columns FROM api_keys")
    assert key not in stored.columns
    assert key.encode().hex() not in stored.columns


# --- the root and health ---


def test_root_tells_programs_what_there_is(api: Api) -> None:
    response = api.get("/", headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["name"] == "halftone"
    assert re.fullmatch(r"\d+\.\d+.*", body["version"])
    assert all(link.startswith("http://api.example/") for link in body["links"].values())
    aliases = {"/", "/upload", "/status/{request_id}"}
    paths = {route.path for route in ROUTES if isinstance(route, Route)} - aliases
    assert paths <= {link.removeprefix("http://api.example") for link in body["links"].values()}


def test_root_is_a_page_for_browsers(api: Api) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    response = api.get("/", headers={"Accept": accept})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "accept" in response.headers["vary"].lower()
    assert "/api/upload" in response.text
    hosts = set(re.findall(r"https?://([^/\s\"'<]+)", response.text))
    assert hosts <= {"api.example"}, "a third party's host"
    assert api.get("/").headers["content-type"] == "application/json"


def test_alive_and_ready(api: Api) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_readiness_names_the_database_when_it_is_away(tmp_path: Path) -> None:
    dead = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/none"
    with running_api(api_settings(dead, tmp_path)) as api:
        assert api.get("/healthz").status_code == 200
        response = api.get("/readyz")
        problem = problem_of(response, 503, "not_ready")
        answered = problem_of(api.get("/api/requests"), 503, "database_unavailable")
    assert problem["failing"] == ["database"]
    assert "database" in problem["detail"]
    assert "hunter2" not in response.text + str(answered)


def test_readiness_names_a_database_that_was_not_migrated(postgres: TestPostgres, tmp_path: Path) -> None:
    with running_api(api_settings(postgres.url("postgres"), tmp_path)) as api:
        problem = problem_of(api.get("/readyz"), 503, "not_ready")
    assert problem["failing"] == ["database"]
    assert "halftone migrate" in problem["detail"]


def test_readiness_names_the_broker_when_it_is_away(database_url: str, tmp_path: Path) -> None:
    with running_api(api_settings(database_url, tmp_path, rabbitmq_url=dead_broker())) as api:
        problem = problem_of(api.get("/readyz"), 503, "not_ready")
    assert problem["failing"] == ["broker"]
    assert "hunter2" not in str(problem)


def test_api_that_has_stopped_holds_no_connection(database_url: str, engine: Engine, tmp_path: Path) -> None:
    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with running_api(api_settings(database_url, tmp_path, rabbitmq_url=dead_broker())) as api:
        assert api.get("/api/requests").status_code == 200
        assert query(engine, others)
    wait_for(lambda: not query(engine, others), 5, "end of the connections")


def dead_broker() -> str:
    return f"amqp://user:hunter2@127.0.0.1:{free_port()}/none"

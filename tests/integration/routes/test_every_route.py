"""Common to all routes: an ID in each response, aliases, problems, and errors that name the bad
parameter.
"""

import base64
from uuid import UUID, uuid4

import pytest

from tests.support.api import ONE_ROW, Api, running_api
from tests.support.csv_files import HEADER
from tests.support.routes import URL, ended_with_image, problem_of, upload

# Fixed, because it is part of test names, which must be the same in every process.
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


def test_upload_is_accepted_with_the_way_to_its_status(api: Api) -> None:
    response = api.upload(HEADER + f'1,A,"{URL},{URL}"\n2,B,"{URL},{URL}"\n')
    assert response.status_code == 202
    body = response.json()
    request_id, links = body.pop("request_id"), body.pop("links")
    assert UUID(request_id).version == 4
    assert body == {
        "message": "CSV received and processing started.",
        "status": "PENDING",
        "profile": "native",
        "columns": {
            "key": "Serial Number",
            "name": "Product Name",
            "images": ["Input Image Urls"],
        },
        "skipped_rows": 0,
        "total_products": 2,
        "total_images": 4,
        "warning_count": 0,
        "warnings": [],
    }
    assert links["status"] == f"http://api.example/api/status/{request_id}"
    assert links["details"] == f"http://api.example/api/details/{request_id}"
    assert links["download"] == f"http://api.example/api/download/{request_id}"
    assert response.headers["location"] == f"/api/status/{request_id}"
    assert int(response.headers["retry-after"]) > 0
    status = api.get(response.headers["location"]).json()
    assert (status["request_id"], status["status"], status["progress"]) == (
        request_id,
        "PENDING",
        0,
    )
    assert (status["total_products"], status["total_images"], status["csv_filename"]) == (
        2,
        4,
        "products.csv",
    )


def test_location_has_the_path_under_which_the_service_is_reached(api: Api) -> None:
    with running_api(
        api.settings.model_copy(
            update={
                "public_url": "https://shop.example/halftone",
                "allowed_hosts": ("api.example",),
            }
        )
    ) as beneath:
        uploaded = beneath.upload(ONE_ROW)
        request_id = uploaded.json()["request_id"]
        cancelled = beneath.call("POST", f"/api/cancel/{request_id}")
    for answer in (uploaded, cancelled):
        assert answer.headers["location"] == f"/halftone/api/status/{request_id}"


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


@pytest.mark.parametrize(
    "given", ["a", "8243ff57-0000-4000-8000-000000000001", "trace:1.2_3-X", "x" * 128]
)
def test_sane_request_id_is_echoed(api: Api, given: str) -> None:
    assert api.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", ["", "a b", "x" * 129, "<script>", "a,b", 'a"b', "é", "a;b", "a/b"]
)
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
    "path",
    [
        "/nowhere",
        "/api",
        "/api/",
        "/api/status",
        "/api/nowhere/x",
        "/upload/x",
        "/api/image",
        "/etc/passwd",
    ],
)
def test_unknown_path_is_a_404_problem(api: Api, path: str) -> None:
    problem_of(api.get(path), 404, "not_found")


def test_problem_names_its_path_as_a_uri(api: Api) -> None:
    path = "/api/status/a%20b%7B%00%C3%A4;c=(1)"
    assert problem_of(api.get(path), 404, "not_found")["instance"] == path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/upload"),
        ("PUT", "/upload"),
        ("POST", "/"),
        ("POST", f"/api/status/{UNKNOWN_ID}"),
        ("DELETE", f"/api/details/{UNKNOWN_ID}"),
        ("PATCH", "/api/requests"),
        ("POST", "/api/image/x"),
    ],
)
def test_other_method_is_a_405_problem_that_says_which_are_allowed(
    api: Api, method: str, path: str
) -> None:
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


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("route", ["/api/details/{id}", "/api/requests"])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(
            ("limit", value)
            for value in ["0", "1001", "-1", "1.5", "x", "", "١", "1e2", " 1", "9" * 5000]
        ),
        *(("status", value) for value in ["", "DONE", "COMPLETED,FAILED", "FAILED\0"]),
        *(
            ("cursor", value)
            for value in [
                "",
                "x",
                "!",
                "é",
                "====",
                encoded("-1"),
                encoded("1.5"),
                encoded("1|2|3"),
            ]
        ),
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

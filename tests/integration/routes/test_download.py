"""The output CSV and the report: rows, order, bytes, and the name of the file."""

import csv
import io
import re
from email.message import Message
from typing import Any
from uuid import UUID

import httpx
import pytest

from halftone_api.endpoints import download
from halftone_api.output.report import REPORT_COLUMNS
from halftone_shared.db.cancel_retry import retry_request
from halftone_shared.db.details import product_page
from tests.support.api import Api, multipart
from tests.support.csv_files import HEADER
from tests.support.routes import URL, problem_of, upload
from tests.support.stored import claimed, execute, failed_image, finish, good_image, settle


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
        "\ufeffNotes;Serial Number;input image urls;Product Name ;Output Image Urls\r\n"
        f'"a;""b""\nc\r\nd"; 007 ;{URL}, {URL};Straße 名前 😀;{files}/a.jpg,\r\n'
        f"=1+1;8;{URL};\uff0b,\t;{files}/b.jpg\r\n"
    )
    assert api.get(f"/api/download/{request_id}").content.decode() == expected
    safe = (
        "\ufeffNotes;Serial Number;input image urls;Product Name ;Output Image Urls\r\n"
        f'"a;""b""\nc\r\nd";" 007 ";"{URL}, {URL}";"Straße 名前 😀";"{files}/a.jpg,"\r\n'
        f'"\'=1+1";"8";"{URL}";"\'\uff0b,\t";"{files}/b.jpg"\r\n'
    )
    assert api.get(f"/api/download/{request_id}?safe=spreadsheet").content.decode() == safe


def test_report_has_a_row_an_image(api: Api) -> None:
    request_id = upload(api, 2, images=2)
    for seq in (1, 2):
        settle(
            api.engine,
            claimed(api.engine, request_id, seq),
            good_image(f"{seq}.jpg"),
            failed_image(),
        )
    response = api.get(f"/api/download/{request_id}?report=images")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    lines = response.content.decode().split("\r\n")
    assert lines[0] == ",".join(column.name for column in REPORT_COLUMNS)
    assert lines[1].startswith(
        f"2,1,SKU1,1,{URL},http://api.example/api/image/1.jpg,COMPLETED,compressed"
        ",,,,100,40,60.0,8,8,JPEG,"
    )
    assert lines[2].startswith(
        "2,1,SKU1,2,http://images.example/2.jpg,,FAILED,,http_error,404,The server answered 404.,"
    )
    assert [line.split(",")[:4] for line in lines[3:5]] == [
        ["3", "2", "SKU2", "1"],
        ["3", "2", "SKU2", "2"],
    ]
    assert lines[5:] == [""]


def test_download_of_many_pages_is_whole_and_in_order(api: Api) -> None:
    request_id = upload(api, 2100)
    execute(
        api.engine,
        "UPDATE products SET status = 'COMPLETED', output_files = ARRAY['x.jpg'],"
        " images = '[null]'",
    )
    execute(
        api.engine,
        "UPDATE requests SET status = 'COMPLETED', outcome = 'succeeded', completed_at = now(),"
        " open_shards = 0, processed_products = total_products",
    )
    _, *rows = csv.reader(io.StringIO(api.get(f"/api/download/{request_id}").text))
    assert [int(cells[0]) for cells in rows] == list(range(1, 2101))


def test_download_that_meets_a_retry_before_its_first_row_is_answered_as_of_a_running_request(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = upload(api, 3)
    for seq in (1, 2, 3):
        settle(api.engine, claimed(api.engine, request_id, seq), failed_image())

    def retried_meanwhile(*arguments: Any, **named: Any) -> Any:
        retry_request(api.engine, request_id, "http://api.example")
        return product_page(*arguments, **named)

    monkeypatch.setattr(download, "product_page", retried_meanwhile)
    problem_of(api.get(f"/api/download/{request_id}?report=images"), 409, "not_ended")


@pytest.mark.parametrize(
    ("filename", "plain"),
    [
        ("products.csv", "products-output.csv"),
        ("Q1.final.CSV", "Q1.final-output.csv"),
        ("../../etc/passwd.csv", "passwd-output.csv"),
        ("..\\\\..\\\\windows\\\\x.csv", "x-output.csv"),
        (
            'a\\"; filename=\\"evil.exe\\"; x=\\".csv',
            "a___filename=_evil.exe___x=_-output.csv".replace("=", "_"),
        ),
        ("a%0d%0aSet-Cookie: b=c.csv", "a_0d_0aSet-Cookie__b_c-output.csv"),
        ("a;b,c d.csv", "a_b_c_d-output.csv"),
        ("$(reboot)`x`.csv", "__reboot__x_-output.csv"),
        (".csv", "-output.csv"),
    ],
)
def test_download_has_a_harmless_name(api: Api, filename: str, plain: str) -> None:
    headers, body = multipart(
        (f'name="file"; filename="{filename}"', f"{HEADER}1,A,{URL}\n".encode())
    )
    request_id = UUID(
        api.call("POST", "/api/upload", headers=headers, content=body).json()["request_id"]
    )
    finish(api.engine, request_id, 1)
    assert disposition(api.get(f"/api/download/{request_id}"))[0] == plain
    assert disposition(api.get(f"/api/download/{request_id}?report=images"))[0] == plain.replace(
        "-output", "-images"
    )


@pytest.mark.parametrize(
    "stored",
    [
        "a\r\nSet-Cookie: b=c.csv",
        "a\nb.csv",
        'a".csv',
        "名前 ä.csv",
        "a\u202egpj.csv",
        "no end",
        "x" * 250 + ".csv",
    ],
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
    """The plain file name and the RFC 6266 one, as the standard library's parser reads them."""
    assert response.status_code == 200
    raw = response.headers["content-disposition"]
    assert raw.isascii()
    assert raw.isprintable()
    plain = re.fullmatch(r"attachment; filename=\"([^\"\\]+)\"; filename\*=UTF-8''[\w.%~-]+", raw)
    assert plain is not None, raw
    message = Message()
    message["Content-Disposition"] = "attachment; " + raw.partition('"; ')[2]
    return plain.group(1), str(message.get_filename())

"""Refused uploads: the response, and that nothing of them is stored."""

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from halftone_api.server.middleware import LINGER_BYTES
from halftone_api.upload.fields import FIELDS
from halftone_api.upload.form import FORM_OVERHEAD_BYTES
from halftone_shared.db.outbox import take_due_products
from tests.support.api import (
    ONE_ROW,
    Api,
    api_settings,
    forget_requests,
    multipart,
    running_api,
    stored_rows,
)
from tests.support.csv_files import HEADER
from tests.support.postgres import TestPostgres

URL = "http://images.example/1.jpg"
LIMIT = 1_200_000
MAX_ROWS = 200
MAX_URLS = 3
# The start of a form: the file part's header, up to its content.
OPENING = multipart(('name="file"; filename="a.csv"', HEADER.encode()), end=False)[1]
NOTHING = {"requests": 0, "products": 0, "request_shards": 0, "webhook_events": 0}


@pytest.fixture(scope="module")
def running(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = api_settings(
        postgres.new_database(),
        tmp_path_factory.mktemp("storage"),
        max_upload_bytes=LIMIT,
        max_rows=MAX_ROWS,
        max_urls_per_product=MAX_URLS,
    )
    with running_api(settings) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Iterator[Api]:
    yield running
    forget_requests(running.engine)


def refused(api: Api, response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem. Checks what every refusal has in common: its format, and that nothing is
    stored.
    """
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= problem.keys()
    assert problem["status"] == status
    assert problem["instance"] == "/api/upload"
    assert problem["detail"].endswith((".", "?"))
    assert stored_rows(api.engine) == NOTHING
    assert take_due_products(api.engine, 100) == []
    return problem


def test_upload_that_is_not_refused_is_stored_and_due(api: Api) -> None:
    """Shows that the checks of the other tests would find a stored upload."""
    response = api.upload(ONE_ROW)
    assert response.status_code == 202
    assert stored_rows(api.engine) == {
        "requests": 1,
        "products": 1,
        "request_shards": 1,
        "webhook_events": 0,
    }
    assert len(take_due_products(api.engine, 100)) == 1


# --- 400: the form ---


def test_form_without_a_file_is_refused(api: Api) -> None:
    headers, body = multipart(('name="mode"', b"quality"))
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "missing_file"
    )


def test_file_in_another_field_is_refused(api: Api) -> None:
    files = {"csv": ("products.csv", ONE_ROW.encode())}
    refused(api, api.call("POST", "/api/upload", files=files), 400, "missing_file")
    gc.collect()  # reports an unclosed temporary file here, not during a later test


def test_text_in_the_file_field_is_refused(api: Api) -> None:
    headers, body = multipart(('name="file"', ONE_ROW.encode()))
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "missing_file"
    )


def test_form_in_which_no_file_was_chosen_is_refused(api: Api) -> None:
    """Browsers then send a file part without a name and without content."""
    headers, body = multipart(('name="file"; filename=""', b""))
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "missing_file"
    )


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        multipart(
            ('name="file"; filename="a.csv"', ONE_ROW.encode()),
            ('name="mode"', b"scale"),
            end=False,
        ),
        ({"Content-Type": "multipart/form-data; boundary=frontier"}, b"no form at all"),
        (
            {"Content-Type": "multipart/form-data"},
            multipart(('name="file"; filename="a.csv"', b"x"))[1],
        ),
        multipart(
            ('name="file"; filename="a.csv"', ONE_ROW.encode()),
            ('name="file"; filename="b.csv"', b"x"),
        ),
        multipart(
            ('name="file"; filename="a.csv"', ONE_ROW.encode()), ('name="mode"', b"x" * 70_000)
        ),
        multipart(
            ('name="file"; filename="a.csv"', ONE_ROW.encode()),
            *((f'name="f{n}"', b"x") for n in range(101)),
        ),
        multipart(('filename="a.csv"', ONE_ROW.encode())),
    ],
    ids=[
        "cut off",
        "no form",
        "no boundary",
        "two files",
        "long field",
        "many fields",
        "field without a name",
    ],
)
def test_form_that_cannot_be_read_is_refused(
    api: Api, headers: dict[str, str], body: bytes
) -> None:
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "malformed_form"
    )


@pytest.mark.parametrize("charset", ["undefined", "idna", "punycode", "unicode_escape", "nonsense"])
def test_odd_charset_of_a_form_is_no_error_of_ours(api: Api, charset: str) -> None:
    headers, body = multipart(
        ('name="file"; filename="a.b.csv"', ONE_ROW.encode()), ('name="\\ud800"', b"x")
    )
    headers["Content-Type"] += f"; charset={charset}"
    response = api.call("POST", "/api/upload", headers=headers, content=body)
    assert response.status_code == 400
    assert stored_rows(api.engine) == NOTHING


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("products.csv", b"PK\x03\x04" + bytes(100)),
        ("products.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("products.csv", b"%PDF-1.7\n"),
        ("products.csv", b"\x89PNG\r\n\x1a\n"),
        ("products.csv", b"\xff\xd8\xff\xe0"),
        ("products.csv", b"GIF89a"),
        ("products.csv", b"\x1f\x8b\x08\x00"),
    ],
    ids=[
        "xlsx",
        "xls",
        "pdf",
        "png",
        "jpeg",
        "gif",
        "gzip",
    ],
)
def test_other_kinds_of_file_are_refused(api: Api, filename: str, content: bytes) -> None:
    refused(api, api.upload(content, filename=filename), 400, "not_csv")


@pytest.mark.parametrize(
    "filename",
    [
        "PRODUCTS.CSV",
        "C:\\Users\\me\\products.csv",
        "../../products.csv",
        "名前.txt",
        "csv",
        "a.exe",
    ],
)
def test_csv_is_told_by_its_bytes(api: Api, filename: str) -> None:
    assert api.upload(ONE_ROW, filename=filename).status_code == 202


# --- 400: the options ---


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("strict", {"strict": "perhaps"}),
        ("strict", {"strict": "2"}),
        ("mode", {"mode": "crop"}),
        ("mode", {"mode": "QUALITY"}),
        ("quality", {"quality": "0"}),
        ("quality", {"quality": "96"}),
        ("quality", {"quality": "-1"}),
        ("quality", {"quality": "50.5"}),
        ("quality", {"quality": "half"}),
        ("quality", {"quality": "٥٠"}),
        ("quality", {"quality": "1" * 5000}),
        ("quality", {"quality": "50", "mode": "bytes"}),
        ("scale", {"scale": "0", "mode": "scale"}),
        ("scale", {"scale": "1.01", "mode": "scale"}),
        ("scale", {"scale": "-0.5", "mode": "scale"}),
        ("scale", {"scale": "nan", "mode": "scale"}),
        ("scale", {"scale": "inf", "mode": "scale"}),
        ("scale", {"scale": "1/2", "mode": "scale"}),
        ("scale", {"scale": "0.5"}),
        ("scale", {"scale": "0.5", "mode": "bytes"}),
        ("ratio", {"ratio": "0", "mode": "bytes"}),
        ("ratio", {"ratio": "1.5", "mode": "bytes"}),
        ("ratio", {"ratio": "nan", "mode": "bytes"}),
        ("ratio", {"ratio": "x", "mode": "bytes"}),
        ("ratio", {"ratio": "0.5"}),
        ("ratio", {"ratio": "0.5", "mode": "scale"}),
        ("format", {"format": "bmp"}),
        ("format", {"format": "JPEG"}),
        (
            "webhook_secret",
            {"webhook_secret": "too short", "webhook_url": "https://client.example/"},
        ),
        (
            "webhook_secret",
            {"webhook_secret": "whsec_" + "A" * 28, "webhook_url": "https://client.example/"},
        ),
        ("webhook_secret", {"webhook_secret": "whsec_" + "A" * 32}),
        ("colour", {"colour": "red"}),
        ("Mode", {"Mode": "scale"}),
    ],
)
def test_option_that_cannot_be_used_is_named(api: Api, option: str, fields: dict[str, str]) -> None:
    problem = refused(api, api.upload(ONE_ROW, fields=fields), 400, "invalid_option")
    assert problem["option"] == option
    assert fields[option] not in problem["detail"] or option != "webhook_secret", (
        "a secret is never shown"
    )


@pytest.mark.parametrize("option", FIELDS)
def test_option_in_the_url_is_refused(api: Api, option: str) -> None:
    answer = api.upload(ONE_ROW, path=f"/api/upload?source=shop&{option}=whsec_value")
    problem = refused(api, answer, 400, "invalid_option")
    assert problem["option"] == option
    assert "form" in problem["detail"]
    assert "whsec" not in problem["detail"]


def test_option_that_is_given_twice_is_refused(api: Api) -> None:
    headers, body = multipart(
        ('name="file"; filename="a.csv"', ONE_ROW.encode()),
        ('name="quality"', b"40"),
        ('name="quality"', b"60"),
    )
    problem = refused(
        api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "invalid_option"
    )
    assert problem["option"] == "quality"


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {"mode": "quality", "quality": 50, "format": "keep"}),
        ({"quality": "1"}, {"mode": "quality", "quality": 1, "format": "keep"}),
        ({"quality": "95", "format": "avif"}, {"mode": "quality", "quality": 95, "format": "avif"}),
        (
            {"mode": "scale", "scale": "1"},
            {"mode": "scale", "scale": 1.0, "quality": 80, "format": "keep"},
        ),
        (
            {"mode": "scale", "quality": "70"},
            {"mode": "scale", "scale": 0.5, "quality": 70, "format": "keep"},
        ),
        ({"mode": "bytes", "ratio": "0.25"}, {"mode": "bytes", "ratio": 0.25, "format": "keep"}),
        ({"mode": "bytes", "format": "webp"}, {"mode": "bytes", "ratio": 0.5, "format": "webp"}),
        (
            {"mode": "", "quality": " ", "strict": ""},
            {"mode": "quality", "quality": 50, "format": "keep"},
        ),
    ],
)
def test_options_that_can_be_used_are_kept(
    api: Api, fields: dict[str, str], options: dict[str, Any]
) -> None:
    response = api.upload(ONE_ROW, fields=fields)
    assert response.status_code == 202, response.text
    assert api.get(f"/api/status/{response.json()['request_id']}").json()["options"] == options


@pytest.mark.parametrize(
    "url",
    [
        "client.example/hook",
        "ftp://client.example/hook",
        "http://",
        "http://client.example/a b",
        "http://client.example:0/",
        "http://client.example\\@10.0.0.1/",
        "https://client.example/".ljust(4097, "x"),
        "http://127.0.0.1/",
        "http://127.0.0.1:8000/hook",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/",
        "http://user:word@192.168.0.1/",
        "http://8.8.8.8:8080/",
        "https://8.8.8.8:22/",
        "http://[::1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[fd00:ec2::254]/",
        "http://[2606:4700::1%25eth0]/",
        "http://[64:ff9b::a9fe:a9fe]/",
    ],
)
def test_webhook_url_that_cannot_be_used_is_refused(api: Api, url: str) -> None:
    refused(api, api.upload(ONE_ROW, fields={"webhook_url": url}), 400, "invalid_webhook_url")


@pytest.mark.parametrize(
    "url", ["https://client.example:8443/hook?a=1", "http://8.8.8.8/", "https://[2606:4700::1]/"]
)
def test_webhook_url_that_may_be_used_is_taken(api: Api, url: str) -> None:
    response = api.upload(
        ONE_ROW, fields={"webhook_url": url, "webhook_secret": "whsec_" + "A" * 32}
    )
    assert response.status_code == 202, response.text
    status = api.get(f"/api/status/{response.json()['request_id']}")
    assert status.json()["webhook"]["url"] == url
    assert "whsec_" not in status.text, "a secret is never shown again"


# --- 400: the file ---


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n,,\r\n"])
def test_empty_file_is_refused(api: Api, content: bytes) -> None:
    refused(api, api.upload(content), 400, "empty_csv")


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"\x90" + ONE_ROW.encode(), 0),
        (ONE_ROW.encode() + "2,ß".encode() + b"\xff", len(ONE_ROW) + 4),
        (ONE_ROW.encode() + b"2,A\x00B", len(ONE_ROW) + 3),
        (ONE_ROW.encode() + b"x" * 1_100_000 + b"\x8f", len(ONE_ROW) + 1_100_000),
        (b"\xff\xfe" + ONE_ROW.encode("utf-16-le") + b"x", 2 + 2 * len(ONE_ROW)),
        (ONE_ROW.encode("utf-16-le"), 1),
    ],
    ids=[
        "byte of no encoding",
        "broken utf-8",
        "NUL",
        "second chunk",
        "half a character of utf-16",
        "utf-16 without BOM",
    ],
)
def test_bad_encoding_is_refused_with_the_byte(api: Api, content: bytes, offset: int) -> None:
    problem = refused(api, api.upload(content), 400, "bad_encoding")
    assert problem["byte_offset"] == offset
    assert str(offset) in problem["detail"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (ONE_ROW + f'2,"A,{URL}\n3,B,{URL}\n', 3),
        (ONE_ROW + f'\n2,"A\nB",{URL}\n3,"C"D,{URL}\n', 6),
        (f"Serial Number,Input Image Urls,Product Name\n1,{URL},A\n2,{URL},A,B\n", 3),
        (f'Serial Number,Product Name,"Input Image Urls\n1,A,{URL}\n', 1),
    ],
    ids=["lone quote", "text behind a quote", "too many cells", "lone quote in the header"],
)
def test_malformed_csv_is_refused_with_the_line(api: Api, content: str, line: int) -> None:
    problem = refused(api, api.upload(content), 400, "malformed_csv")
    assert problem["line"] == line
    assert f"line {line}" in problem["detail"]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("Serial Number,Product Name", ["Input Image Urls"]),
        ("S. No,Input Image Urls,Name", ["Product Name"]),
        ("a,b,c", ["Serial Number", "Product Name", "Input Image Urls"]),
        (
            "Serial Number|Product Name|Input Image Urls",
            ["Serial Number", "Product Name", "Input Image Urls"],
        ),
    ],
)
def test_missing_columns_are_named(api: Api, header: str, columns: list[str]) -> None:
    problem = refused(api, api.upload(f"{header}\n1,A,{URL}\n"), 400, "missing_columns")
    assert problem["columns"] == columns
    assert all(repr(column) in problem["detail"] for column in columns)


def test_duplicate_columns_are_named(api: Api) -> None:
    content = f"S. No,Product Name,Input Image Urls,serial number\n1,A,{URL},2\n"
    assert refused(api, api.upload(content), 400, "duplicate_columns")["columns"] == [
        "Serial Number"
    ]


@pytest.mark.parametrize("content", [HEADER, HEADER + "\n \n,,\n"])
def test_header_alone_is_refused(api: Api, content: str) -> None:
    refused(api, api.upload(content), 400, "no_rows")


def test_header_wider_than_any_table_is_no_error_of_ours(api: Api) -> None:
    empty = "," * 33_000
    response = api.upload(f"{empty}{HEADER}{empty}1,A,{URL}\n")
    assert response.status_code in (202, 400), response.text


# --- 413 ---


def test_file_of_just_the_limit_is_taken(api: Api) -> None:
    assert api.upload(ONE_ROW.ljust(LIMIT, "\n")).status_code == 202


@pytest.mark.parametrize("over", [1, FORM_OVERHEAD_BYTES // 2, 2 * FORM_OVERHEAD_BYTES, 10 * LIMIT])
def test_file_over_the_limit_is_refused(api: Api, over: int) -> None:
    problem = refused(api, api.upload(ONE_ROW.ljust(LIMIT + over, "\n")), 413, "too_large")
    assert problem["limit"] == LIMIT
    gc.collect()  # reports an unclosed temporary file here, not during a later test


def test_field_over_the_limit_is_refused(api: Api) -> None:
    headers, body = multipart(
        ('name="file"; filename="a.csv"', ONE_ROW.encode()), ('name="mode"', b"x" * 2 * LIMIT)
    )
    refused(api, api.call("POST", "/api/upload", headers=headers, content=body), 413, "too_large")


def test_endless_body_is_cut_off(api: Api) -> None:
    """Without a Content-Length, the API must count. After the limit it reads and discards at most
    LINGER_BYTES.
    """
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield OPENING
        while sent < 200 * 1024 * 1024:
            sent += 1024 * 1024
            yield b"\n" * 1024 * 1024

    headers, _ = multipart()
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=endless()), 413, "too_large"
    )
    assert sent <= LIMIT + FORM_OVERHEAD_BYTES + LINGER_BYTES + 3 * 1024 * 1024


def test_too_many_rows_are_refused(api: Api) -> None:
    rows = [f"{n},A,{URL}\n" for n in range(1, MAX_ROWS + 2)]
    problem = refused(api, api.upload(HEADER + "".join(rows)), 413, "too_many_rows")
    assert problem["limit"] == MAX_ROWS
    assert api.upload(HEADER + "".join(rows[:-1])).status_code == 202


# --- 415 ---


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Content-Type": "text/csv"}, ONE_ROW.encode()),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"file=a"),
        ({"Content-Type": "multipart/mixed; boundary=frontier"}, b""),
        ({}, ONE_ROW.encode()),
        ({}, b""),
    ],
    ids=["csv", "json", "urlencoded", "mixed", "no type", "nothing at all"],
)
def test_body_that_is_no_form_is_refused(api: Api, headers: dict[str, str], content: bytes) -> None:
    refused(
        api, api.call("POST", "/api/upload", headers=headers, content=content), 415, "not_multipart"
    )


# --- 422 ---


@pytest.mark.parametrize(
    ("row", "column", "code", "value"),
    [
        (f"x,A,{URL}", "Serial Number", "not_a_number", "x"),
        (f"1.5,A,{URL}", "Serial Number", "not_a_number", "1.5"),
        (f"1,B,{URL}", "Serial Number", "duplicate_serial_number", "1"),
        (f"2, ,{URL}", "Product Name", "empty_name", " "),
        ("2,A,", "Input Image Urls", "no_url", ""),
        ("2,A,photo.jpg", "Input Image Urls", "no_valid_url", "photo.jpg"),
        ("2,A,ftp://f.example/a.jpg", "Input Image Urls", "no_valid_url", "ftp://f.example/a.jpg"),
        (
            f'2,A,"{URL},{URL},{URL},{URL}"',
            "Input Image Urls",
            "too_many_urls",
            f"{URL},{URL},{URL},{URL}",
        ),
        (f"2,{'A' * 1001},{URL}", "Product Name", "field_too_long", "A" * 200),
        (f"2,A,{URL}{'x' * 4096}", "Input Image Urls", "field_too_long", (URL + "x" * 200)[:200]),
    ],
)
def test_wrong_row_is_refused_with_its_place(
    api: Api, row: str, column: str, code: str, value: str
) -> None:
    problem = refused(api, api.upload(f"{ONE_ROW}\n{row}\n3,C,{URL}\n"), 422, "invalid_rows")
    assert problem["error_count"] == 1
    (error,) = problem["errors"]
    assert error.pop("message").endswith(".")
    assert error == {"line": 4, "column": column, "code": code, "value": value}


def test_duplicate_names_the_first_line(api: Api) -> None:
    content = f"{HEADER}7,A,{URL}\n8,B,{URL}\n007,C,{URL}\n"
    (error,) = refused(api, api.upload(content), 422, "invalid_rows")["errors"]
    assert error["line"] == 4
    assert "line 2" in error["message"]


def test_every_row_is_checked_and_the_first_hundred_errors_are_listed(api: Api) -> None:
    rows = "".join(f"{n},{'' if n % 2 else 'A'},{URL}\n" for n in range(1, MAX_ROWS + 1))
    problem = refused(api, api.upload(HEADER + rows + "\n"), 422, "invalid_rows")
    assert problem["error_count"] == MAX_ROWS // 2
    rows = "".join(f"x,,{URL}\n" for _ in range(MAX_ROWS))
    problem = refused(api, api.upload(HEADER + rows), 422, "invalid_rows")
    assert problem["error_count"] == 2 * MAX_ROWS
    assert [error["line"] for error in problem["errors"]] == [
        line for line in range(2, 52) for _ in "ab"
    ]


def test_error_in_the_last_row_leaves_nothing_of_the_rows_before(api: Api) -> None:
    rows = "".join(f"{n},A,{URL}\n" for n in range(1, MAX_ROWS))
    refused(api, api.upload(f"{HEADER}{rows}x,A,{URL}\n"), 422, "invalid_rows")


def test_strict_refuses_what_is_else_a_warning(api: Api) -> None:
    content = f'{HEADER}1,A,"{URL},ftp://f.example/b.jpg"\n'
    problem = refused(api, api.upload(content, fields={"strict": "true"}), 422, "invalid_rows")
    (error,) = problem["errors"]
    assert (error["line"], error["column"], error["code"]) == (2, "Input Image Urls", "invalid_url")
    assert error["value"] == "ftp://f.example/b.jpg"
    accepted = api.upload(content, fields={"strict": "false"})
    assert accepted.status_code == 202
    assert accepted.json()["warning_count"] == 1
    assert accepted.json()["warnings"] == [error]


def test_accepted_upload_counts_every_warning_and_lists_a_hundred(api: Api) -> None:
    rows = "".join(f'{n},A,"{URL},ftp://f.example/{n}"\n' for n in range(1, MAX_ROWS + 1))
    accepted = api.upload(HEADER + rows).json()
    assert (accepted["total_products"], accepted["total_images"]) == (MAX_ROWS, 2 * MAX_ROWS)
    assert accepted["warning_count"] == MAX_ROWS
    assert [warning["line"] for warning in accepted["warnings"]] == list(range(2, 102))


# --- the rest ---


def test_alias_refuses_alike(api: Api) -> None:
    response = api.upload(HEADER, path="/upload")
    assert (response.status_code, response.json()["code"]) == (400, "no_rows")
    assert response.json()["instance"] == "/upload"


def test_two_lengths_are_refused(api: Api) -> None:
    headers, body = multipart(('name="file"; filename="a.csv"', ONE_ROW.encode()))
    headers |= {"Content-Length": str(len(body)), "Transfer-Encoding": "chunked"}
    refused(api, api.call("POST", "/api/upload", headers=headers, content=body), 400, "bad_framing")


def test_preset_gives_its_options_and_warns_of_what_contradicts_it(api: Api) -> None:
    fields = {"preset": "amazon-main", "background": "black", "quality": "77"}
    answer = api.upload(ONE_ROW, fields=fields).json()

    warnings = [one for one in answer["warnings"] if one["code"] == "contradicts_preset"]
    assert any("white background" in one["message"] for one in warnings)
    options = api.get(f"/api/status/{answer['request_id']}").json()["options"]
    assert (options["preset"], options["quality"]) == ("amazon-main", 77)
    assert "width" in options


def test_unknown_preset_is_refused_with_those_that_there_are(api: Api) -> None:
    problem = refused(api, api.upload(ONE_ROW, fields={"preset": "etsy"}), 400, "invalid_option")

    assert "google-merchant" in problem["detail"]

"""Exports through the API: uploaded, checked, sampled, and downloaded in their own format."""

import csv
import io
import json
from typing import Any
from uuid import UUID

import pytest

from tests.support.api import Api, stored_rows
from tests.support.csv_files import HEADER
from tests.support.exports import EXPORTS, A, B, Export
from tests.support.routes import problem_of
from tests.support.stored import claimed, failed_image, finish, good_image, settle
from tests.support.workbooks import rows_of_workbook, workbook

FILES = "http://api.example/api/image"
SHOPIFY = EXPORTS[0]
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def upload(api: Api, content: str | bytes, **fields: str) -> dict[str, Any]:
    response = api.upload(content, fields=fields)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def upload_and_finish(api: Api, content: str | bytes, **fields: str) -> str:
    """Upload, complete all images, and return the download path."""
    answer = upload(api, content, **fields)
    finish(api.engine, UUID(answer["request_id"]), answer["total_products"])
    return f"/api/download/{answer['request_id']}"


def rows_of(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


# --- the 202 ---


@pytest.mark.parametrize("export", EXPORTS, ids=[export.profile for export in EXPORTS])
def test_export_of_every_system_is_taken(api: Api, export: Export) -> None:
    answer = upload(api, export.content, **export.fields)
    assert (answer["profile"], answer["total_products"], answer["total_images"]) == (
        export.profile,
        len(export.images),
        sum(map(len, export.images)),
    )
    details = api.get(answer["links"]["details"].removeprefix("http://api.example")).json()
    assert [each["input_image_urls"] for each in details["products"]] == export.images
    assert [each["product_key"] for each in details["products"]] == export.keys
    assert {each["serial_number"] for each in details["products"]} == {None}
    assert details["skipped_rows"] == answer["skipped_rows"]


def test_columns_may_be_named_by_the_form(api: Api) -> None:
    table = f"Code,Titel,Foto,Foto,Mehr\nA1,Mug,{A},{B},\n,,,,{A}\nA3,Lamp,,,\n"
    columns = {"key": "code", "name": "Titel", "images": ["Mehr", "Foto"]}
    answer = upload(api, table, columns=json.dumps(columns))
    assert (answer["profile"], answer["total_products"], answer["skipped_rows"]) == (
        "columns",
        2,
        1,
    )
    assert answer["columns"] == {"key": "Code", "name": "Titel", "images": ["Mehr", 3, 4]}
    upload(api, table, columns=json.dumps(answer["columns"]))


def test_file_that_fits_nothing_names_the_columns_that_would_take_it(api: Api) -> None:
    table = f"Code;Titel;Preis;Foto\nA1;Mug;9,00;{A}\n"
    problem = problem_of(api.upload(table), 400, "missing_columns")
    assert problem["found_columns"] == ["Code", "Titel", "Preis", "Foto"]
    assert problem["url_columns"] == ["Foto"]
    suggested = problem["suggested_columns"]
    assert suggested == {"key": "Code", "name": "Titel", "images": ["Foto"]}
    assert f"columns={json.dumps(suggested)}" in problem["detail"]
    assert upload(api, table, columns=json.dumps(suggested))["total_products"] == 1


def test_profile_may_be_asked_for(api: Api) -> None:
    assert upload(api, SHOPIFY.content, profile="shopify")["profile"] == "shopify"
    problem_of(api.upload(SHOPIFY.content, fields={"profile": "native"}), 400, "missing_columns")
    problem_of(api.upload(SHOPIFY.content, fields={"profile": "etsy"}), 400, "missing_columns")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("profile", "nopify"),
        ("columns", "SKU"),
        ("columns", "[]"),
        ("columns", '{"key": "SKU"}'),
        ("columns", '{"images": []}'),
        ("columns", '{"images": [0]}'),
        ("columns", '{"images": ["A"], "price": "B"}'),
        ("encoding", "klingon"),
        ("sheet", "Sheet1"),
        ("base_url", "media/"),
        ("on_error", "ignore"),
        ("sample", "0"),
        ("sample", "501"),
        ("sample", "1.5"),
    ],
)
def test_option_that_cannot_be_used_is_named(api: Api, option: str, value: str) -> None:
    problem = problem_of(api.upload(HEADER, fields={option: value}), 400, "invalid_option")
    assert problem["option"] == option


def test_file_without_any_image_is_refused(api: Api) -> None:
    problem = problem_of(api.upload("Handle,Title,Image Src\na,A,\n"), 400, "no_rows")
    assert "'Image Src'" in problem["detail"]
    assert stored_rows(api.engine)["requests"] == 0


def test_path_without_base_url_is_refused_with_the_field_that_is_missing(api: Api) -> None:
    magento = next(export for export in EXPORTS if export.profile == "magento")
    problem = problem_of(api.upload(magento.content), 422, "invalid_rows")
    assert "base_url" in problem["errors"][0]["message"]


# --- invalid rows ---

WRONG = f"{HEADER}1,A,{A}\nx,B,{B}\n3,,{A}\n1,C,{A}\n4,D,\n5,E,{B}\n"


def test_wrong_rows_are_skipped_where_that_is_asked_for(api: Api) -> None:
    answer = upload(api, WRONG, on_error="skip")
    assert (answer["total_products"], answer["skipped_rows"]) == (2, 4)
    assert [(each["line"], each["code"]) for each in answer["warnings"]] == [
        (3, "not_a_number"),
        (4, "empty_name"),
        (5, "duplicate_serial_number"),
        (6, "no_url"),
    ]
    assert answer["warning_count"] == 4
    finish(api.engine, UUID(answer["request_id"]), 2)
    rows = rows_of(api.get(f"/api/download/{answer['request_id']}").text)
    assert [row[:3] for row in rows] == rows_of(WRONG)
    assert [bool(row[3]) for row in rows[1:]] == [True, False, False, False, False, True]


def test_row_with_too_many_cells_is_skipped_too(api: Api) -> None:
    table = f"Serial Number,Input Image Urls,Product Name\n1,{A},A\n2,{A},B,C\n"
    problem_of(api.upload(table), 400, "malformed_csv")
    assert upload(api, table, on_error="skip")["skipped_rows"] == 1


# --- what comes back ---


def test_recognised_export_comes_back_with_its_images_replaced(api: Api) -> None:
    answer = upload(api, SHOPIFY.content)
    request_id = UUID(answer["request_id"])
    settle(api.engine, claimed(api.engine, request_id, 1), good_image("1.jpg"), failed_image())
    settle(api.engine, claimed(api.engine, request_id, 2), good_image("2.jpg"))
    settle(api.engine, claimed(api.engine, request_id, 3), failed_image())
    text = api.get(f"/api/download/{request_id}").text
    assert text == SHOPIFY.content.decode().replace(f"{A},1", f"{FILES}/1.jpg,1").replace(
        f"{B},2", f"{FILES}/2.jpg,2"
    )
    appended = rows_of(api.get(f"/api/download/{request_id}?images=append").text)
    assert [row[-1] for row in appended] == [
        "Output Image Urls",
        f"{FILES}/1.jpg,",
        f"{FILES}/2.jpg",
        "",
        "",
    ]


def test_native_file_may_have_its_images_replaced(api: Api) -> None:
    path = upload_and_finish(api, f'{HEADER}1,A,"{A} | {B}"\n')
    assert rows_of(api.get(f"{path}?images=replace").text)[1][2].count(f"{FILES}/") == 2
    assert " | " in api.get(f"{path}?images=replace").text


def test_own_output_may_be_uploaded_again_and_again(api: Api) -> None:
    text = f"{HEADER}1,A,{A}\n"
    for _ in range(3):
        path = upload_and_finish(api, text)
        text = api.get(path).text
        assert rows_of(text)[0].count("Output Image Urls") == 1


def test_file_with_two_output_columns_is_taken(api: Api) -> None:
    header = HEADER.strip() + ",Output Image Urls,Output Image Urls\n"
    path = upload_and_finish(api, f"{header}1,A,{A},old,old\n")
    row = rows_of(api.get(path).text)[1]
    assert (row[3], len(row)) == ("old", 5)
    assert row[4].startswith(FILES)


def test_what_the_file_began_with_comes_back(api: Api) -> None:
    path = upload_and_finish(api, "\ufeffsep=;\r\n" + HEADER.replace(",", ";") + f"1;A;{A}\n")
    lines = api.get(path).content.decode().split("\r\n")
    assert lines[:2] == ["\ufeffsep=;", HEADER.strip().replace(",", ";") + ";Output Image Urls"]
    report = api.get(f"{path}?report=images").content.decode()
    assert report.startswith("\ufeffline;serial_number;")


def test_file_for_a_spreadsheet_has_a_byte_order_mark(api: Api) -> None:
    path = upload_and_finish(api, f"{HEADER}1,A,{A}\n")
    assert not api.get(path).content.startswith(b"\xef\xbb\xbf")
    assert api.get(f"{path}?safe=spreadsheet").content.startswith(b"\xef\xbb\xbf")


# --- workbooks ---


def test_workbook_comes_back_as_a_workbook(api: Api) -> None:
    rows: list[list[Any]] = [
        ["Note", None],
        ["Handle", "Title", "Image Src", "Price"],
        ["mug", "Mug", A, 9.5],
        ["lamp", "Lamp", None, 7],
    ]
    path = upload_and_finish(api, workbook({"Products": rows}))
    response = api.get(path)
    assert response.headers["content-type"] == XLSX
    assert 'filename="products-output.xlsx"' in response.headers["content-disposition"]
    given = rows_of_workbook(response.content, "Products")
    assert given[0][0] == "Note"
    assert given[1] == ["Handle", "Title", "Image Src", "Price"]
    assert given[2][2].startswith(FILES)
    assert [given[2][0], given[2][1], given[2][3]] == ["mug", "Mug", 9.5]
    assert given[3] == ["lamp", "Lamp", None, 7]
    as_csv = rows_of(api.get(f"{path}?as=csv").text)
    assert as_csv[3] == ["lamp", "Lamp", "", "7"]


def test_csv_may_be_downloaded_as_a_workbook(api: Api) -> None:
    path = upload_and_finish(api, f"{HEADER}1,A,{A}\n")
    given = rows_of_workbook(api.get(f"{path}?as=xlsx").content)
    assert given[0][-1] == "Output Image Urls"
    assert given[1][:3] == ["1", "A", A]
    report = rows_of_workbook(api.get(f"{path}?as=xlsx&report=images").content)
    assert report[0][:3] == ["line", "serial_number", "product_name"]


def test_cell_that_excel_cannot_hold_is_refused_with_advice(api: Api) -> None:
    path = upload_and_finish(api, f"Note,{HEADER}{'x' * 40_000},1,A,{A}\n")
    problem = problem_of(api.get(f"{path}?as=xlsx"), 400, "invalid_parameter")
    assert "as=csv" in problem["detail"]


def test_pages_are_smaller_where_rows_are_large(api: Api) -> None:
    url = "http://images.example/".ljust(4000, "x")
    rows = "".join(f"{row},P{row},{','.join([url] * 100)}\n" for row in range(1, 26))
    answer = upload(api, HEADER + rows)
    path = f"/api/details/{answer['request_id']}?limit=1000"
    page, seen = api.get(path).json(), 0
    assert len(page["products"]) < 12
    while page["next_cursor"]:
        seen += len(page["products"])
        page = api.get(f"{path}&cursor={page['next_cursor']}").json()
    assert seen + len(page["products"]) == 25
    finish(api.engine, UUID(answer["request_id"]), 25)
    assert len(rows_of(api.get(f"/api/download/{answer['request_id']}").text)) == 26


# --- check and sample ---


def test_check_says_what_was_understood_and_stores_nothing(api: Api) -> None:
    before = stored_rows(api.engine)
    response = api.upload(SHOPIFY.content, path="/api/check")
    assert response.status_code == 200
    answer = response.json()
    preview = answer.pop("preview")
    assert answer == {
        "profile": "shopify",
        "columns": {"key": "Handle", "name": "Title", "images": ["Image Src", "Variant Image"]},
        "rows": 4,
        "products": 3,
        "images": 4,
        "skipped_rows": 1,
        "hosts": [{"host": "images.example", "images": 4}],
        "warnings": [],
        "warning_count": 0,
    }
    assert preview[0] == {
        "line": 2,
        "serial_number": None,
        "product_key": "red-mug",
        "product_name": "Red Mug",
        "input_image_urls": [A, A],
    }
    assert stored_rows(api.engine) == before


def test_check_refuses_as_an_upload_does(api: Api) -> None:
    problem_of(api.upload("a,b\n1,2\n", path="/api/check"), 400, "missing_columns")
    refused = problem_of(api.upload(WRONG, path="/api/check"), 422, "invalid_rows")
    assert refused["error_count"] == 4


def test_sample_is_spread_evenly_and_tells_what_the_whole_would_take(api: Api) -> None:
    rows = "".join(f'{number},P{number},"{A},{B}"\n' for number in range(1, 11))
    answer = upload(api, HEADER + rows, sample="4")
    assert (answer["total_products"], answer["total_images"]) == (4, 8)
    request_id = UUID(answer["request_id"])
    details = api.get(f"/api/details/{request_id}").json()
    assert [each["serial_number"] for each in details["products"]] == [1, 4, 6, 9]
    assert details["sample"] == {"products": 4, "of_products": 10, "of_images": 20}
    assert details["estimate"] is None
    finish(api.engine, request_id, 4)
    status = api.get(f"/api/status/{request_id}").json()
    estimate = status["estimate"]
    assert (estimate["bytes_in"], estimate["bytes_out"], estimate["bytes_saved"]) == (
        2000,
        800,
        1200,
    )
    assert estimate["seconds"] >= 0
    assert len(rows_of(api.get(f"/api/download/{request_id}").text)) == 5


def test_sample_larger_than_the_file_is_the_whole_file(api: Api) -> None:
    answer = upload(api, SHOPIFY.content, sample="500")
    assert answer["total_products"] == 3
    assert api.get(f"/api/status/{answer['request_id']}").json()["sample"]["products"] == 3


def test_guessed_encoding_is_a_warning_and_may_be_given(api: Api) -> None:
    content = f"{HEADER}1,Größe,{A}\n".encode("cp1252")
    (warning,) = upload(api, content)["warnings"]
    assert (warning["code"], warning["value"]) == ("encoding_guessed", "windows-1252")
    assert upload(api, content, encoding="Latin-1")["warning_count"] == 0
    problem_of(api.upload(content, fields={"encoding": "utf-8"}), 400, "bad_encoding")

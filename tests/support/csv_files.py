"""Reading a CSV as the API reads an upload: its products, its errors, the reason for a refusal."""

import io

import pytest

from halftone_api.errors import Problem
from halftone_api.upload.opening import Reading, open_table
from halftone_api.upload.products import ProductFile, UploadLimits
from halftone_api.upload.row_problems import RowProblem
from halftone_shared.db.requests import NewProduct

HEADER = "Serial Number,Product Name,Input Image Urls\n"
URL = "http://images.example/1.jpg"
OTHER = "https://images.example/2.jpg"
MIB = 1024 * 1024


def read(
    data: str | bytes, *, max_rows: int = 1000, max_urls: int = 100, strict: bool = False
) -> tuple[ProductFile, list[NewProduct]]:
    content = data.encode() if isinstance(data, str) else data
    with open_table(io.BytesIO(content), Reading()) as (table, layout):
        products = ProductFile(table, layout, UploadLimits(max_rows, max_urls), strict=strict)
        return products, [row for row in products if isinstance(row, NewProduct)]


def rows_of(data: str | bytes, *, max_urls: int = 100, strict: bool = False) -> list[NewProduct]:
    """The products of a file without errors."""
    products, rows = read(data, max_urls=max_urls, strict=strict)
    assert products.errors.first == []
    return rows


def only_row(data: str | bytes) -> NewProduct:
    (row,) = rows_of(data)
    return row


def errors_of(data: str | bytes, *, max_urls: int = 100, strict: bool = False) -> list[RowProblem]:
    products, _ = read(data, max_urls=max_urls, strict=strict)
    assert products.errors.count == len(products.errors.first)
    return products.errors.first


def codes_of(data: str | bytes) -> list[str]:
    return [error.code for error in errors_of(data)]


def refusal_of(data: str | bytes, *, max_rows: int = 1000) -> Problem:
    with pytest.raises(Problem) as caught:
        read(data, max_rows=max_rows)
    return caught.value

"""Tables that fit nothing: the refusal names what was found and what to send, and that is right."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from halftone_api.errors import Problem
from halftone_api.upload.column_choice import ColumnChoice, MappedColumns
from halftone_api.upload.opening import Reading, open_table
from halftone_api.upload.products import ProductFile, UploadLimits
from halftone_shared.db.requests import NewProduct
from tests.support.exports import EXPORTS
from tests.support.workbooks import workbook

URL = "http://images.example/1.jpg"
OTHER = "https://images.example/2.jpg"
PAGE = "https://shop.example/p/1"
SHOP = "https://shop.example/media/"
BASE = f"{SHOP}a.jpg"


def read(content: bytes, wanted: ColumnChoice) -> list[list[str]]:
    """The image URLs of each product. Raises Problem."""
    with open_table(io.BytesIO(content), Reading(wanted)) as (table, layout):
        file = ProductFile(table, layout, UploadLimits(10_000, 100))
        products = [row for row in file if isinstance(row, NewProduct)]
    assert file.errors.first == []
    return [list(product.input_image_urls) for product in products]


def refusal_of(content: bytes, wanted: ColumnChoice | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        read(content, wanted or ColumnChoice())
    assert (caught.value.code, caught.value.status) == ("missing_columns", 400)
    return caught.value


@dataclass(frozen=True)
class Misfit:
    """A table, the `columns` that its refusal suggests, what the refusal says, and the images that
    are read when the advice is followed: after `change`, with `base_url`.
    """

    table: str | bytes
    suggested: dict[str, Any] | None
    said: str
    images: list[list[str]] = field(default_factory=lambda: [[URL]])
    change: Callable[[str], str] = str
    base_url: str | None = None

    @property
    def content(self) -> bytes:
        return self.table if isinstance(self.table, bytes) else self.table.encode()


BARS = f"Code|Title|Foto\nA|Mug|{URL}\n"
MISFITS = {
    "names of its own": Misfit(
        f"Code;Titel;Foto\nA;Mug;{URL}\n",
        {"key": "Code", "name": "Titel", "images": ["Foto"]},
        "Cells with URLs are in 'Foto'.",
    ),
    "title above": Misfit(
        f"Price list\n\nCode,Title,Foto\nA,Mug,{URL}\n",
        {"key": "Code", "name": "Title", "images": ["Foto"]},
        "on line 3",
    ),
    "padded title above": Misfit(
        f"Price list,,\nCode,,Foto\nA,Mug,{URL}\n",
        {"key": "Code", "images": ["Foto"]},
        "on line 2",
    ),
    "columns without names": Misfit(
        f"Code,,\nA,Mug,{URL}\n",
        {"key": "Code", "images": [3]},
        "The header on line 1",
    ),
    "no names at all": Misfit(
        f",,\nA,Mug,{URL}\nB,Cup,{OTHER}\n",
        {"key": 1, "images": [3]},
        "The file has no header",
        [[URL], [OTHER]],
        lambda table: f"a,b,c{table[2:]}",
    ),
    "no header": Misfit(
        f"A,Mug,{URL}\nB,Cup,{OTHER}\n",
        {"key": 1, "images": [3]},
        "write a line with the names of the columns above its first row",
        [[URL], [OTHER]],
        lambda table: f"a,b,c\n{table}",
    ),
    "title above no header": Misfit(
        f"Price list\nA,Mug,{URL}\nB,Cup,{OTHER}\n",
        {"key": 1, "images": [3]},
        "line 2 has a URL",
        [[URL], [OTHER]],
        lambda table: table.replace("A,", "a,b,c\nA,"),
    ),
    "links to pages": Misfit(
        f"Code,Link,Foto\nA,{PAGE},{URL}\n",
        {"key": "Code", "images": ["Foto"]},
        "Cells with URLs are in 'Link', 'Foto'",
    ),
    "no serial number": Misfit(
        f"Product Name,Input Image Urls\nMug,{URL}\n",
        {"name": "Product Name", "images": ["Input Image Urls"]},
        "no column 'Serial Number'",
    ),
    "native columns below a title": Misfit(
        f"Our products,,\nSerial Number,Product Name,Input Image Urls\n1,Mug,{URL}\n",
        {"key": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]},
        "must be the first row",
    ),
    "names that repeat": Misfit(
        f"Code,Foto,Foto\nA,{URL},{OTHER}\n",
        {"key": "Code", "images": [2, 3]},
        "Cells with URLs are in 'Foto', 'Foto'",
        [[URL, OTHER]],
    ),
    "paths": Misfit(
        "Code,Foto\nA,a.jpg\n",
        {"key": "Code", "images": ["Foto"]},
        "send base_url with the address",
        [[BASE]],
        base_url=SHOP,
    ),
    "no scheme": Misfit(
        "Code,Foto\nA,www.images.example/1.jpg\n",
        {"key": "Code", "images": ["Foto"]},
        "write https:// in front of each URL",
        [["https://www.images.example/1.jpg"]],
        lambda table: table.replace("www.", "https://www."),
    ),
    "links of a spreadsheet": Misfit(
        f'Code;Foto\nA;"=HYPERLINK(""{URL}"";""Foto"")"\n',
        {"key": "Code", "images": ["Foto"]},
        "leave only the URLs in the cells of 'Foto'",
        change=lambda table: re.sub('"=.*"', URL, table),
    ),
    "scheme of the page": Misfit(
        "Code,Foto\nA,//images.example/1.jpg\n",
        {"key": "Code", "images": ["Foto"]},
        "Cells with URLs are in 'Foto'",
        [["https://images.example/1.jpg"]],
    ),
    "bars": Misfit(
        BARS,
        {"key": "Code", "name": "Title", "images": ["Foto"]},
        "write the line sep=| above the first one",
        change=lambda table: f"sep=|\n{table}",
    ),
    "images far down": Misfit(
        "Code,Foto\n" + "A,\n" * 2000 + f"B,{URL}\n",
        {"key": "Code", "images": ["Foto"]},
        "Cells with URLs are in 'Foto'",
    ),
    "links above, images far down": Misfit(
        "Code,Link,Foto\n" + f"A,{PAGE},\n" * 2000 + f"B,{PAGE},{URL}\n",
        {"key": "Code", "images": ["Foto"]},
        "Cells with URLs are in 'Link', 'Foto'",
    ),
    "a sheet of a workbook": Misfit(
        workbook({"Notes": [["Hello"]], "Data": [["Code", "Foto"], ["A", URL]]}),
        {"key": "Code", "images": ["Foto"]},
        "The header on line 1 of the sheet 'Data'",
    ),
}
# Tables for which there are no columns to suggest.
WITHOUT_IMAGES = {
    "no images": ("Code,Title\nA,Mug\n", "None of its 1 rows has an image URL"),
    "column to add": ("Code,Title\nA,Mug\n", 'columns={"key": "Code", "images": ["Image"]}'),
    "header alone": ("Code,Foto\n", "It has no row below the header."),
    "pictures": ("Code,Foto\nA,data:image/png;base64 iVBOR\n", "'Foto' holds the pictures"),
    "products as columns": (
        f"Serial Number,1,2\nProduct Name,Mug,Vase\nInput Image Urls,{URL},{OTHER}\n",
        "Transpose the table, so that each product has a row.",
    ),
    "spaces": (f"Code     Title    Foto\nA        Mug      {URL}\n", "separated by spaces"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_read_when_the_advice_of_its_refusal_is_followed(name: str) -> None:
    misfit = MISFITS[name]
    refused = refusal_of(misfit.content)
    suggested = refused.members["suggested_columns"]
    assert suggested == misfit.suggested
    assert misfit.said in refused.detail
    assert suggested is not None
    columns = MappedColumns(suggested.get("key"), suggested.get("name"), tuple(suggested["images"]))
    content = misfit.content
    if isinstance(misfit.table, str):
        content = misfit.change(misfit.table).encode()
    assert read(content, ColumnChoice(columns=columns, base_url=misfit.base_url)) == misfit.images


@pytest.mark.parametrize("name", WITHOUT_IMAGES)
def test_table_without_images_is_refused_with_the_reason(name: str) -> None:
    table, said = WITHOUT_IMAGES[name]
    refused = refusal_of(table.encode())
    assert said in refused.detail


@pytest.mark.parametrize("name", WITHOUT_IMAGES)
def test_table_without_images_gets_no_suggestion(name: str) -> None:
    refused = refusal_of(WITHOUT_IMAGES[name][0].encode())
    assert refused.members["suggested_columns"] is None


def test_keys_that_look_like_images_are_no_names_of_columns() -> None:
    refused = refusal_of(f"Code,Foto\nimg1,{URL}\nimg2,{OTHER}\n".encode())
    assert refused.members["suggested_columns"] == {"key": "Code", "images": ["Foto"]}


def test_columns_that_the_form_names_and_the_file_lacks_are_named() -> None:
    wanted = ColumnChoice(columns=MappedColumns("SKU", None, ("Foto 1",)))
    refused = refusal_of(f"Code,Foto\nA,{URL}\n".encode(), wanted)
    assert "has no column 'SKU', 'Foto 1', which the form field 'columns' names" in refused.detail
    assert refused.members["columns"] == ["SKU", "Foto 1"]
    assert refused.members["suggested_columns"] == {"key": "Code", "images": ["Foto"]}


def test_numbers_of_columns_do_not_make_a_product_the_header() -> None:
    """Otherwise the first product of a file without a header would be lost."""
    wanted = ColumnChoice(columns=MappedColumns(1, None, (3,)))
    refused = refusal_of(f"A,Mug,{URL}\nB,Cup,{OTHER}\n".encode(), wanted)
    assert "The file has no header" in refused.detail


def test_export_of_another_system_than_the_form_says_is_named() -> None:
    shopify = next(export for export in EXPORTS if export.profile == "shopify")
    refused = refusal_of(shopify.content, ColumnChoice(profile="etsy"))
    assert "not that of the profile 'etsy'" in refused.detail
    assert "send profile=shopify, or no profile" in refused.detail


def test_columns_are_suggested_without_the_profile_that_does_not_fit() -> None:
    refused = refusal_of(f"Code,Foto\nA,{URL}\n".encode(), ColumnChoice(profile="etsy"))
    assert 'columns={"key": "Code", "images": ["Foto"]}, without profile=etsy' in refused.detail


def test_known_export_with_bars_needs_no_columns() -> None:
    shopify = next(export for export in EXPORTS if export.profile == "shopify")
    table = shopify.content.decode().replace(",", "|")
    refused = refusal_of(table.encode())
    assert "write the line sep=| above the first one" in refused.detail
    assert "send profile=shopify, or no profile" in refused.detail
    assert read(f"sep=|\n{table}".encode(), ColumnChoice()) == shopify.images


def test_columns_with_pictures_are_found_however_far_down_they_begin() -> None:
    """Akeneo's image columns have free names, so only their cells show which they are."""
    header = "uuid;sku;categories;enabled;family;name-en_US;side_view\n"
    empty = "5cf4;MUG;mugs;1;mug;Mug;\n" * 1000
    filled = "5cf5;LAMP;lamps;1;lamp;Lamp;files/LAMP/a.png\n"
    wanted = ColumnChoice(base_url=SHOP)
    assert read((header + empty + filled).encode(), wanted) == [[f"{SHOP}files/LAMP/a.png"]]

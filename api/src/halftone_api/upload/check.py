"""What an upload of a file would be understood as, without storing it. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from typing_extensions import TypedDict

from halftone_api.upload.layout import Columns, Layout
from halftone_api.upload.products import ProductFile
from halftone_api.upload.row_problems import RowError
from halftone_shared.db.requests import NewProduct, OtherRow
from halftone_shared.model.json_types import Count

PREVIEWED_PRODUCTS = 5
MAX_HOSTS = 1000


class HostImages(TypedDict):
    host: str
    images: Count


class PreviewedProduct(TypedDict):
    line: Count
    serial_number: int | None
    product_key: str | None
    product_name: str | None
    input_image_urls: list[str]


class Check(TypedDict):
    """How an upload of the file would be understood."""

    profile: str
    columns: Columns
    rows: Annotated[Count, Field(description="The rows below the header that are not blank.")]
    products: Count
    images: Count
    skipped_rows: Count
    hosts: Annotated[list[HostImages], Field(description="By the number of images.")]
    warnings: Annotated[list[RowError], Field(max_length=100)]
    warning_count: Count
    preview: Annotated[list[PreviewedProduct], Field(description="The first five products.")]


@dataclass(frozen=True)
class Understood:
    """The answer to a check, and the header of the file."""

    check: Check
    header: Sequence[str]


class Understanding:
    """Counts the rows of a file as they are read. Memory does not grow with the file."""

    def __init__(self) -> None:
        self.products = 0
        self._rows = 0
        self._images = 0
        self._hosts: Counter[str] = Counter()
        self._preview: list[NewProduct] = []

    def add(self, row: NewProduct | OtherRow) -> None:
        if isinstance(row, OtherRow):
            self._rows += any(cell.strip() for cell in row.cells)
            return
        self._rows += 1
        self.products += 1
        self._images += len(row.input_image_urls)
        self._count_hosts(row.input_image_urls)
        if len(self._preview) < PREVIEWED_PRODUCTS:
            self._preview.append(row)

    def _count_hosts(self, urls: Sequence[str]) -> None:
        for url in urls:
            try:
                host = urlsplit(url).hostname
            except ValueError:
                continue
            if host and (host in self._hosts or len(self._hosts) < MAX_HOSTS):
                self._hosts[host] += 1

    def to_json(self, layout: Layout, file: ProductFile) -> Check:
        return {
            "profile": layout.profile,
            "columns": layout.columns_json(),
            "rows": self._rows,
            "products": self.products,
            "images": self._images,
            "skipped_rows": file.skipped_rows,
            "hosts": [
                {"host": host, "images": images} for host, images in self._hosts.most_common()
            ],
            "warnings": [warning.to_json() for warning in file.warnings.first],
            "warning_count": file.warnings.count,
            "preview": [_previewed(product) for product in self._preview],
        }


def _previewed(product: NewProduct) -> PreviewedProduct:
    return {
        "line": product.line,
        "serial_number": product.serial_number,
        "product_key": product.product_key,
        "product_name": product.product_name,
        "input_image_urls": list(product.input_image_urls),
    }

"""The rows of the output file: the uploaded rows with output URLs added, or in place of input
URLs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from halftone_api.upload.cells import find_urls, replace_urls
from halftone_api.upload.layout import OUTPUT_COLUMN, Layout
from halftone_api.upload.table import Row
from halftone_shared.db.details import ProductRow
from halftone_shared.db.other_rows import OtherRowAt
from halftone_shared.model.results import ImageResult

# Joins the URLs of an image column whose cell shows no separator to copy.
_SEPARATOR = ","

# The output files of a product's images, one each; None if the image has none.
Files = Callable[[Sequence[ImageResult | None]], Sequence[str | None]]


class Images(StrEnum):
    """Where the output URLs go: a column of their own, or the cells that had the input URLs."""

    APPEND = "append"
    REPLACE = "replace"


def variant_files(name: str) -> Files:
    """The files of one variant; None where an image failed."""

    def files(images: Sequence[ImageResult | None]) -> Sequence[str | None]:
        return [
            image.variants[name].file if image and name in image.variants else None
            for image in images
        ]

    return files


@dataclass(frozen=True)
class OutputRows:
    """How a request's rows are written. `image_url` turns an output file's name into a URL.

    `variants` maps a variant's name to its files; each gets a column `Output Image Urls (NAME)`.
    """

    layout: Layout
    image_url: Callable[[str], str]
    images: Images
    variants: Mapping[str, Files] = field(default_factory=dict)

    def header(self) -> Iterator[Row]:
        """The rows above the header, then the header."""
        yield from self.layout.above
        header, kinds = list(self.layout.header), self.layout.header_kinds
        yield self._with_added(header, kinds, self._columns)

    def rows(self, rows: Iterable[ProductRow | OtherRowAt]) -> Iterator[Row]:
        nothing = [""] * len(self._columns)
        for row in rows:
            if isinstance(row, OtherRowAt):
                yield self._with_columns(row.cells, row.kinds, nothing)
            else:
                yield self._product(row)

    @cached_property
    def _columns(self) -> list[str]:
        """The names of the columns for output URLs."""
        appended = [OUTPUT_COLUMN] if self.images is Images.APPEND else []
        return [*appended, *(f"{OUTPUT_COLUMN} ({name})" for name in self.variants)]

    @cached_property
    def _own(self) -> dict[int, int]:
        """For each of `_columns` that the file already has: its number there, and in the file."""
        found = (
            (number, self.layout.column_named(name)) for number, name in enumerate(self._columns)
        )
        return {number: at for number, at in found if at is not None}

    @cached_property
    def _width(self) -> int:
        return len(self.layout.header)

    def _product(self, product: ProductRow) -> Row:
        images = product.images if self.variants else ()
        variants = [self._joined(files(images)) for files in self.variants.values()]
        if self.images is Images.APPEND:
            values = [self._joined(product.files), *variants]
            return self._with_columns(product.cells, product.kinds, values)
        return self._with_columns(*self._replaced(product), variants)

    def _joined(self, files: Sequence[str | None]) -> str:
        return ",".join([self.image_url(file) if file else "" for file in files])

    def _with_columns(self, cells: Sequence[str], kinds: str, values: Sequence[str]) -> Row:
        """The row with a value for each of `_columns`."""
        filled = list(cells)
        if values and len(filled) < self._width:
            filled += [""] * (self._width - len(filled))
        for number, at in self._own.items():
            filled[at] = values[number]
            kinds = _with_text(kinds, at)
        return self._with_added(filled, kinds, values)

    def _with_added(self, cells: list[str], kinds: str, values: Sequence[str]) -> Row:
        """Insert the values of the columns that the file lacks after its last column."""
        width, added = self._width, values
        if self._own:
            added = [value for number, value in enumerate(values) if number not in self._own]
        if kinds and added:
            kinds = kinds[:width].ljust(width, "s") + "s" * len(added) + kinds[width:]
        cells[width:width] = added
        return Row(0, cells, kinds)

    # --- images=replace ---

    def _replaced(self, product: ProductRow) -> tuple[list[str], str]:
        """The cells with output URLs in place of input URLs; a failed image keeps its own."""
        cells, kinds, rules = list(product.cells), product.kinds, self.layout.rules
        at = 0
        for column in self.layout.images:
            read = column.read if cells[column.read].strip() else column.write
            found = find_urls(cells[read], rules)
            urls = [self._escaped(file) for file in product.files[at : at + len(found)]]
            at += len(found)
            if len(urls) < len(found):
                break
            if column.write == read:
                cells[read] = replace_urls(cells[read], urls, rules)
            elif found:
                kept = (url or each.url for url, each in zip(urls, found, strict=True))
                cells[column.write] = _SEPARATOR.join(kept)
            kinds = _with_text(kinds, column.write) if found else kinds
        if at != len(product.files):
            return self._replaced_as_a_whole(product), product.kinds
        return cells, kinds

    def _escaped(self, file: str | None) -> str | None:
        if not file:
            return None
        url = self.image_url(file)
        return url.replace(",", "\\,") if self.layout.rules.escaped_commas else url

    def _replaced_as_a_whole(self, product: ProductRow) -> list[str]:
        """For native CSV rows whose unquoted cells were joined: they cannot be separated again."""
        cells = list(product.cells)
        urls = zip(product.files, product.input_image_urls, strict=True)
        if len(self.layout.images) == 1:
            cells[self.layout.images[0].write] = _SEPARATOR.join(
                self.image_url(file) if file else url for file, url in urls
            )
        return cells


def _with_text(kinds: str, column: int) -> str:
    """The kinds of a workbook's row in which this cell has become a text."""
    if not kinds or column >= len(kinds):
        return kinds
    return f"{kinds[:column]}s{kinds[column + 1 :]}"

"""Reads the rows of a recognised export, or of the columns that the form names."""

from collections.abc import Sequence

from halftone_api.upload.cells import read_urls
from halftone_api.upload.layout import Layout
from halftone_api.upload.row_checks import RowChecks
from halftone_api.upload.row_problems import too_many_cells
from halftone_api.upload.table import FileKind, Row
from halftone_shared.db.requests import NewProduct

MAX_NAME_CHARACTERS = 1000
MAX_KEY_CHARACTERS = 1000


class ExportRows:
    """Reads a recognised export, or the columns that the form names. A row needs only an image."""

    def __init__(self, layout: Layout, checks: RowChecks) -> None:
        self._layout = layout
        self._checks = checks
        self._key: str | None = None
        self._name: str | None = None

    def read(self, row: Row) -> NewProduct | None:
        """The row's product; None if the row has no image."""
        layout = self._layout
        cells = self._filled(row)
        key, name = _first_filled(cells, layout.keys), _first_filled(cells, layout.names)
        if layout.follow_up_rows:
            key, name = self._carried_down(key, name)
        if key is not None and key.casefold() in layout.example_keys:
            return None
        urls = self._urls(cells)
        if not urls:
            return None
        shown = cells[urls[0][0]]
        self._checks.check_urls(row.line, shown, urls)
        known_by = key or _first_filled(cells, layout.keys_otherwise) or name
        return NewProduct(
            line=row.line,
            serial_number=None,
            product_key=known_by and known_by[:MAX_KEY_CHARACTERS],
            product_name=name and name[:MAX_NAME_CHARACTERS],
            cells=cells,
            input_image_urls=[url for _, url in urls],
            kinds=row.kinds,
        )

    def _filled(self, row: Row) -> list[str]:
        """The row, padded to one cell per header column."""
        width = len(self._layout.header)
        cells = row.cells
        if len(cells) < width:
            return cells + [""] * (width - len(cells))
        if self._layout.kind is FileKind.CSV and any(cell.strip() for cell in cells[width:]):
            raise too_many_cells(row, width, self._layout.delimiter)
        return cells

    def _carried_down(self, key: str | None, name: str | None) -> tuple[str | None, str | None]:
        """The row's key and name, from the row above where they are missing.

        A row without both, or one that repeats the key above and has no name, belongs to the row
        above.
        """
        if key is None and name is None:
            key, name = self._key, self._name
        elif key is not None and key == self._key and name is None:
            name = self._name
        self._key, self._name = key, name
        return key, name

    def _urls(self, cells: Sequence[str]) -> list[tuple[int, str]]:
        """The URLs of the row with their columns, in column order."""
        urls = []
        for column in self._layout.images:
            read = column.read if cells[column.read].strip() else column.write
            urls += [(read, url) for url in read_urls(cells[read], self._layout.rules)]
        return urls


def _first_filled(cells: Sequence[str], columns: Sequence[int]) -> str | None:
    return next((text for column in columns if (text := cells[column].strip())), None)

"""Which columns of a table hold URLs or pictures, by the cells of all its rows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from halftone_api.errors import Problem
from halftone_api.upload.cells import has_url, is_image_data, is_path, starts_with_url
from halftone_api.upload.layout import Layout
from halftone_api.upload.table import Row, Table
from halftone_shared.model.image_formats import EXTENSIONS

_PICTURE_URL = re.compile(rf"\.(?:{'|'.join(EXTENSIONS)})\b", re.IGNORECASE)
_PICTURES = tuple(f".{extension}" for extension in EXTENSIONS)


@dataclass
class ColumnContents:
    """Positions of columns. `urls` have a URL, `paths` a path to a picture and no URL, `pictures`
    a URL that ends like a picture's, `wrapped` other text before a URL, and `data` a picture
    instead of its URL. `rows` is the number of rows that are not blank.
    """

    urls: set[int] = field(default_factory=set)
    paths: set[int] = field(default_factory=set)
    pictures: set[int] = field(default_factory=set)
    wrapped: set[int] = field(default_factory=set)
    data: set[int] = field(default_factory=set)
    without_scheme: bool = False
    rows: int = 0

    @property
    def images(self) -> list[int]:
        """The columns that may hold images, in the order of the file."""
        return sorted(self.urls | self.paths)

    def add(self, at: int, cell: str) -> bool:
        """Note what a cell holds; True if nothing more can be learned of its column."""
        if has_url(cell):
            self.urls.add(at)
            self.paths.discard(at)
            if not starts_with_url(cell):
                self.wrapped.add(at)
            if _PICTURE_URL.search(cell):
                self.pictures.add(at)
        elif at not in self.urls and _is_picture_path(cell):
            self.paths.add(at)
            self.without_scheme |= cell.lstrip().lower().startswith("www.")
        elif is_image_data(cell):
            self.data.add(at)
        return at in self.pictures


def contents_of(table: Table, layout: Layout) -> ColumnContents:
    """What the columns of the header hold, in any row of the file."""
    contents = ColumnContents()
    # A URL in the header belongs to the first product of a file without a header.
    for at, cell in enumerate(layout.header):
        if has_url(cell):
            contents.add(at, cell)
    unknown = [at for at in range(len(layout.header)) if at not in contents.pictures]
    for row in _rows_below(table, layout):
        contents.rows += not row.is_blank
        width = len(row.cells)
        known = [
            at
            for at in unknown
            # A cell of three characters holds neither a URL nor a path to a picture.
            if at < width and len(row.cells[at]) > 3 and contents.add(at, row.cells[at])
        ]
        if known:
            unknown = [at for at in unknown if at not in known]
    return contents


def _rows_below(table: Table, layout: Layout) -> Iterator[Row]:
    try:
        for row in table.rows(layout.delimiter):
            if row.line > layout.header_line:
                yield row
    except Problem:
        return  # a problem in a later row does not matter here


def _is_picture_path(cell: str) -> bool:
    return cell.strip().lower().endswith(_PICTURES) and is_path(cell)

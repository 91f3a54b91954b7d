"""Which row of an unknown table is probably its header. Pure."""

from collections import Counter
from collections.abc import Sequence

from halftone_api.upload.cells import has_url
from halftone_api.upload.native_columns import is_native_name
from halftone_api.upload.table import Beginning


def likely_header(beginnings: Sequence[Beginning]) -> tuple[Beginning, int]:
    """The rows as the likeliest delimiter splits them, and the index of the header in them."""
    beginning = max(beginnings, key=_delimiter_rank)
    at = max(range(len(beginning.rows)), key=lambda at: header_rank(beginning, at))
    return beginning, at


def _delimiter_rank(beginning: Beginning) -> tuple[int, int, int]:
    """Sort key: the most native columns in a row; the rows of the commonest width; that width."""
    native = max(sum(map(is_native_name, row.cells)) for row in beginning.rows)
    widths = Counter(len(row.cells) for row in beginning.rows if len(row.cells) > 1)
    width, rows = max(widths.items(), key=lambda each: (each[1], each[0]), default=(0, 0))
    return native, rows, width


def header_rank(beginning: Beginning, at: int) -> tuple[int, bool, bool, bool, int, int]:
    """Sort key: the row with the most native columns; then a row that is as wide as the others,
    unlike a title above the columns; then one without URLs; then one with few empty cells; then
    one with many rows of its width below it; then the first.
    """
    cells = beginning.rows[at].cells
    widest = max(len(row.cells) for row in beginning.rows)
    filled = [sum(bool(cell.strip()) for cell in row.cells) for row in beginning.rows]
    below = beginning.rows[at + 1 :]
    same_width = sum(len(row.cells) == len(cells) for row in below) if len(cells) > 1 else 0
    return (
        sum(map(is_native_name, cells)),
        2 * len(cells) >= widest,
        not any(map(has_url, cells)),
        2 * filled[at] >= max(filled),
        same_width,
        -at,
    )

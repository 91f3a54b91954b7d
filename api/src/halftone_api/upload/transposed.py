"""Recognises a table whose products are its columns. Pure."""

from collections.abc import Sequence

from halftone_api.upload.cells import has_url
from halftone_api.upload.column_words import LIKELY_KEYS, LIKELY_NAMES, PICTURE_NAME
from halftone_api.upload.native_columns import is_native_name
from halftone_api.upload.profiles.profile import normal_name


def is_transposed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the names of the columns are below each other in the first column: each row with URLs
    begins with the name of an image column, and another row with that of a key or a name.

    A key may look like an image's name, so no row without URLs may name an image column.
    """
    filled = [row for row in rows if row]
    with_urls = [row for row in filled if any(map(has_url, row[1:]))]
    others = [row for row in filled if row not in with_urls]
    return (
        bool(with_urls)
        and all(PICTURE_NAME.search(row[0]) for row in with_urls)
        and any(_names_a_product(row[0]) for row in others)
        and not any(PICTURE_NAME.search(cell) for row in others for cell in row[1:])
    )


def _names_a_product(cell: str) -> bool:
    return is_native_name(cell) or normal_name(cell) in {*LIKELY_KEYS, *LIKELY_NAMES}

"""The columns of the native CSV and their aliases."""

from collections import Counter

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.layout import OUTPUT_COLUMN, Layout
from halftone_api.upload.listing import cut, listed
from halftone_api.upload.profiles.profile import normal_name

SERIAL = "Serial Number"
NAME = "Product Name"
URLS = "Input Image Urls"
NATIVE_COLUMNS = (SERIAL, NAME, URLS)
_ALIASES = {
    **{normal_name(name): name for name in NATIVE_COLUMNS},
    **dict.fromkeys(("s. no", "s. no.", "s.no", "s.no."), SERIAL),
}


def native_name(cell: str) -> str:
    """The native column that a header cell names, or else the cell's normal name."""
    name = normal_name(cell)
    return _ALIASES.get(name, name)


def is_native_name(cell: str) -> bool:
    return normal_name(cell) in _ALIASES


def refuse_duplicate_columns(layout: Layout) -> None:
    """Raise Problem if a column repeats in the native CSV. Columns for output URLs may repeat."""
    output = normal_name(OUTPUT_COLUMN)
    duplicates = sorted(
        cut(name)
        for name, count in Counter(map(native_name, layout.header)).items()
        if name and count > 1 and not name.startswith(output)
    )
    if duplicates:
        raise Problem(
            ProblemCode.DUPLICATE_COLUMNS,
            f"The header has more than one column {listed(duplicates)}.",
            columns=duplicates,
        )

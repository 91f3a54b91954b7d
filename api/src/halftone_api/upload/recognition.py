"""Decides what kind of table a file is: the native CSV, a system's export, or columns that the form
names.

Raises Problem, which lists what was found and what is accepted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.cells import CellRules, has_url, is_path
from halftone_api.upload.layout import (
    MAPPED,
    NATIVE,
    OUTPUT_COLUMN,
    ImageColumn,
    Layout,
    column_reference,
)
from halftone_api.upload.profiles import PROFILES
from halftone_api.upload.profiles.profile import (
    Profile,
    columns_by_preference,
    columns_of,
    normal_name,
    score,
)
from halftone_api.upload.table import Beginning, Row, Table
from halftone_shared.model.image_formats import EXTENSIONS

AUTO = "auto"
MAX_COLUMNS = 16_384  # a spreadsheet's limit
MAX_SHOWN_CHARACTERS = 200
# The header is searched in the first 12 rows; 200 rows show which columns hold images.
_HEADER_WITHIN = 12
_SAMPLE_ROWS = 200
_SHOWN_COLUMNS = 20

SERIAL = "Serial Number"
NAME = "Product Name"
URLS = "Input Image Urls"
NATIVE_COLUMNS = (SERIAL, NAME, URLS)
_NATIVE_ALIASES = {
    **{normal_name(name): name for name in NATIVE_COLUMNS},
    **dict.fromkeys(("s. no", "s. no.", "s.no", "s.no."), SERIAL),
}
# Columns that usually identify a product, best first; a refusal suggests them.
_LIKELY_KEYS = (
    "sku", "handle", "product code", "code", "reference", "article number", "artikelnummer",
    "item number", "product id", "id", "ean", "gtin", "key",
)  # fmt: skip
_LIKELY_NAMES = (
    "title", "name", "product name", "product title", "titel", "description", "bezeichnung",
    "product", "nombre", "nom", "nome",
)  # fmt: skip


@dataclass(frozen=True)
class MappedColumns:
    """The form field `columns`: each column by its name or its number from 1."""

    key: str | int | None
    name: str | int | None
    images: tuple[str | int, ...]

    @property
    def all(self) -> tuple[str | int, ...]:
        return tuple(one for one in (self.key, self.name, *self.images) if one is not None)


@dataclass(frozen=True)
class Wanted:
    """The form's choice of columns: a profile's name or AUTO, or `columns`."""

    profile: str = AUTO
    columns: MappedColumns | None = None
    base_url: str | None = None


def recognise(table: Table, wanted: Wanted) -> Layout:
    """The layout of the file. Raises Problem if none fits."""
    beginnings = table.beginnings(_HEADER_WITHIN)
    layout = _find_layout(table, beginnings, wanted)
    if layout is None:
        raise table.malformed or _missing_columns(table, beginnings, wanted)
    if len(layout.header) > MAX_COLUMNS:
        raise Problem(
            ProblemCode.MALFORMED_CSV,
            f"The header has more than {MAX_COLUMNS} columns.",
            line=layout.header_line,
        )
    return _complete(layout, table, wanted)


def fits(beginnings: Sequence[Beginning], wanted: Wanted) -> bool:
    """Whether these rows have a header that `recognise` accepts; used to choose a sheet."""
    return any(
        _fit(beginning, at, wanted) is not None
        for beginning in beginnings
        for at in range(len(beginning.rows))
    )


def _complete(layout: Layout, table: Table, wanted: Wanted) -> Layout:
    layout = replace(
        layout,
        kind=table.kind,
        has_bom=table.has_bom,
        separator_line=table.separator_line,
        sheet=table.sheet,
        rules=_rules(layout.rules, wanted.base_url),
    )
    profile = PROFILES.get(layout.profile)
    if profile is None or not profile.images_by_content:
        return layout
    known = {*layout.keys, *layout.names, *layout.keys_otherwise}
    images = [at for at in _image_columns(table, layout) if at not in known]
    return replace(layout, images=[ImageColumn(at, at) for at in images])


def _rules(rules: CellRules, base_url: str | None) -> CellRules:
    return rules if base_url is None else replace(rules, base_url=base_url)


# --- which header ---


def _find_layout(table: Table, beginnings: Sequence[Beginning], wanted: Wanted) -> Layout | None:
    """The best fit over all delimiters and rows; the first row among equals."""
    best: tuple[int, int, Layout] | None = None
    for beginning in beginnings:
        for at in range(len(beginning.rows)):
            fit = _fit(beginning, at, wanted)
            if fit is not None and (best is None or fit[0] > best[0]):
                best = (*fit[:1], at, fit[1])
    return None if best is None else best[2]


def _fit(beginning: Beginning, at: int, wanted: Wanted) -> tuple[int, Layout] | None:
    """How well a row serves as the header, and the layout it gives."""
    row = beginning.rows[at]
    names = [normal_name(cell) for cell in row.cells]
    base = _layout(beginning, at)
    if wanted.columns is not None:
        return _fit_columns(names, base, wanted.columns)
    if at == 0 and wanted.profile in (AUTO, NATIVE):
        native = _fit_native(names, base)
        if native is not None or wanted.profile == NATIVE:
            return native
    if wanted.profile == NATIVE:
        return None
    profiles = PROFILES.values() if wanted.profile == AUTO else [PROFILES[wanted.profile]]
    above = [above.cells for above in beginning.rows[:at]]
    scored = [(found, profile) for profile in profiles if (found := score(profile, names, above))]
    if not scored:
        return None
    found, profile = max(scored, key=lambda each: each[0])
    return found, _profile_layout(profile, names, base)


def _layout(beginning: Beginning, at: int) -> Layout:
    row = beginning.rows[at]
    return Layout(
        profile=MAPPED,
        kind=beginning.kind,
        delimiter=beginning.delimiter,
        header=row.cells,
        header_kinds=row.kinds,
        header_line=row.line,
        above=tuple(beginning.rows[:at]),
        keys=(),
        names=(),
        images=(),
    )


def _fit_native(names: Sequence[str], base: Layout) -> tuple[int, Layout] | None:
    """The native CSV's layout, if the header has all of its columns."""
    standard = [_NATIVE_ALIASES.get(name, name) for name in names]
    if any(name not in standard for name in NATIVE_COLUMNS):
        return None
    serial, name, urls = (standard.index(each) for each in NATIVE_COLUMNS)
    layout = replace(
        base, profile=NATIVE, keys=(serial,), names=(name,), images=(ImageColumn(urls, urls),)
    )
    return 1000, layout


def refuse_duplicate_columns(layout: Layout) -> None:
    """Raise Problem if a column repeats in the native CSV. Columns for output URLs may repeat."""
    names = [_NATIVE_ALIASES.get(normal_name(cell), normal_name(cell)) for cell in layout.header]
    output = normal_name(OUTPUT_COLUMN)
    duplicates = sorted(
        _cut(name)
        for name, count in Counter(names).items()
        if name and count > 1 and not name.startswith(output)
    )
    if duplicates:
        raise Problem(
            ProblemCode.DUPLICATE_COLUMNS,
            f"The header has more than one column {_listed(duplicates)}.",
            columns=duplicates,
        )


def _profile_layout(profile: Profile, names: Sequence[str], base: Layout) -> Layout:
    found = columns_of(names, profile.images) or columns_of(names, profile.or_images)
    images = [
        ImageColumn(column, _first(names, profile.outputs.get(names[column]), column))
        for column in found
    ]
    return replace(
        base,
        profile=profile.name,
        keys=columns_by_preference(names, profile.key),
        keys_otherwise=columns_by_preference(names, profile.key_otherwise),
        names=columns_by_preference(names, profile.product),
        images=images,
        rules=profile.rules,
        follow_up_rows=profile.follow_up_rows,
        example_keys=profile.example_keys,
    )


def _first(names: Sequence[str], name: str | None, otherwise: int) -> int:
    return names.index(name) if name is not None and name in names else otherwise


def _fit_columns(
    names: Sequence[str], base: Layout, wanted: MappedColumns
) -> tuple[int, Layout] | None:
    key, name = _columns(names, wanted.key), _columns(names, wanted.name)
    each = [_columns(names, image) for image in wanted.images]
    if key is None or name is None or any(found is None for found in each):
        return None
    images = list(dict.fromkeys(column for found in each for column in found or ()))
    layout = replace(
        base,
        profile=MAPPED,
        keys=key[:1],
        names=name[:1],
        images=[ImageColumn(column, column) for column in images],
    )
    return 1, layout


def _columns(names: Sequence[str], wanted: str | int | None) -> list[int] | None:
    """The positions of a column that `columns` names: several if its name repeats, None if the
    header lacks it.
    """
    if wanted is None:
        return []
    if isinstance(wanted, int):
        return [wanted - 1] if wanted <= len(names) else None
    found = [at for at, name in enumerate(names) if name == normal_name(wanted)]
    return found or None


# --- refusals ---


def _missing_columns(table: Table, beginnings: Sequence[Beginning], wanted: Wanted) -> Problem:
    """The problem to raise: the missing columns, the columns found, those with URLs, and a
    suggested `columns`.
    """
    beginning, at = max(
        ((each, at) for each in beginnings for at in range(len(each.rows))),
        key=lambda place: _likely_header(*place),
    )
    layout = _layout(beginning, at)
    missing = _missing(layout, wanted)
    with_urls = _image_columns(table, layout)
    suggestion = _suggestion(layout, _likely_images(table, layout, with_urls))
    return Problem(
        ProblemCode.MISSING_COLUMNS,
        " ".join(
            [
                _what_is_missing(table, layout, missing, beginnings, wanted),
                f"It has {_listed(layout.header)}.",
                _advice(table, layout, with_urls, suggestion),
            ]
        ),
        columns=missing,
        found_columns=[_cut(cell) for cell in layout.header[:_SHOWN_COLUMNS]],
        url_columns=[_cut(layout.header[at]) for at in with_urls[:_SHOWN_COLUMNS]],
        suggested_columns=suggestion,
    )


def _likely_header(beginning: Beginning, at: int) -> tuple[int, bool, bool, int, int, int]:
    """Sort key: the row with the most native columns; then a row without URLs that is not much
    shorter than the others, such as the name of a price list above its columns; then one with many
    rows of its width below it; then the first.
    """
    cells = beginning.rows[at].cells
    native = sum(normal_name(cell) in _NATIVE_ALIASES for cell in cells)
    filled = [sum(bool(cell.strip()) for cell in row.cells) for row in beginning.rows]
    below = beginning.rows[at + 1 :]
    same_width = sum(len(row.cells) == len(cells) for row in below) if len(cells) > 1 else 0
    return (
        native,
        not any(map(has_url, cells)),
        2 * filled[at] >= max(filled),
        same_width,
        -at,
        len(cells),
    )


def _missing(layout: Layout, wanted: Wanted) -> list[str]:
    names = [normal_name(cell) for cell in layout.header]
    if wanted.columns is not None:
        absent = [one for one in wanted.columns.all if _columns(names, one) is None]
        return [_cut(str(one)) for one in absent]
    if wanted.profile not in (AUTO, NATIVE):
        return []
    standard = {_NATIVE_ALIASES.get(name, name) for name in names}
    return [name for name in NATIVE_COLUMNS if name not in standard]


def _what_is_missing(
    table: Table,
    layout: Layout,
    missing: Sequence[str],
    beginnings: Sequence[Beginning],
    wanted: Wanted,
) -> str:
    sheet = "" if table.sheet is None else f" of the sheet {table.sheet!r}"
    header = f"The header on line {layout.header_line}{sheet}"
    if wanted.columns is not None:
        return f"{header} has no column {_listed(missing)}, which the form field 'columns' names."
    fitting = _find_layout(table, beginnings, Wanted()) if wanted.profile != AUTO else None
    instead = (
        ""
        if fitting is None
        else f" It is that of the profile {fitting.profile!r}: send that, or no profile."
    )
    if wanted.profile not in (AUTO, NATIVE):
        return f"{header} is not that of the profile {wanted.profile!r}.{instead}"
    return (
        f"{header} has no column {_listed(missing)}. halftone needs {_listed(NATIVE_COLUMNS)}, or"
        f" the columns of an export that it knows.{instead}"
    )


def _advice(
    table: Table, layout: Layout, with_urls: Sequence[int], suggestion: dict[str, Any] | None
) -> str:
    if separator := _other_separator(layout):
        return (
            f"Its columns seem to be separated by {separator}. Separate them by commas, semicolons"
            " or tabs."
        )
    if suggestion is None:
        return f"No column has image URLs in the first {_SAMPLE_ROWS} rows below it."
    shown = json.dumps(suggestion, ensure_ascii=False)
    advice = f"send the form field columns={shown}."
    if any(map(has_url, layout.header)):
        return (
            "That looks like a product, so the file has no header. Write a line with the names of"
            f" the columns above it, and {advice}"
        )
    found = _listed([layout.header[at] for at in with_urls])
    paths = ""
    if not _has_urls(table, layout, with_urls):
        paths = (
            " These are paths, so also send base_url with the address that they are below, such as"
            " https://shop.example/media/."
        )
    return f"Cells with URLs are in {found}. To take the file, {advice}{paths}"


def _other_separator(layout: Layout) -> str | None:
    """What separates the columns, if the header is one cell because nothing known does."""
    if len(layout.header) > 1:
        return None
    header = layout.header[0].strip()
    if header.count("|") > 1:
        return "'|'"
    return "spaces" if len(re.findall(r" {2,}", header)) > 1 else None


def _has_urls(table: Table, layout: Layout, columns: Sequence[int]) -> bool:
    """Whether a cell of these columns has a URL, not only a path."""
    return any(
        has_url(row.cells[at])
        for row in islice(_rows_below(table, layout), _SAMPLE_ROWS)
        for at in columns
        if at < len(row.cells)
    )


def _suggestion(layout: Layout, images: Sequence[int]) -> dict[str, Any] | None:
    if not images or _other_separator(layout):
        return None
    names = [normal_name(cell) for cell in layout.header]
    others = [at for at in range(len(names)) if at not in images and names[at]]
    key = _likely(names, others, _LIKELY_KEYS)
    name = _likely(names, [at for at in others if at != key], _LIKELY_NAMES)
    if key is None:
        key = min((at for at in others if at != name), default=None)
    header = layout.header
    # Without a header the file gets one first, so only numbers can be right.
    numbered = any(map(has_url, header))
    shown = {
        role: column + 1 if numbered else column_reference(header, column)
        for role, column in (("key", key), ("name", name))
        if column is not None
    }
    references = [
        at + 1 if numbered else column_reference(header, at) for at in images[:_SHOWN_COLUMNS]
    ]
    return {**shown, "images": references}


def _likely(names: Sequence[str], among: Sequence[int], words: Sequence[str]) -> int | None:
    return next((at for word in words for at in among if names[at] == word), None)


def _likely_images(table: Table, layout: Layout, with_urls: Sequence[int]) -> Sequence[int]:
    """The columns among these that are called or look like images, not like links to pages; all of
    them if none does.
    """
    pictures = {
        at
        for row in islice(_rows_below(table, layout), _SAMPLE_ROWS)
        for at in with_urls
        if at < len(row.cells) and _PICTURE_URL.search(row.cells[at])
    }
    likely = [at for at in with_urls if at in pictures or _PICTURE_NAME.search(layout.header[at])]
    return likely or with_urls


def _image_columns(table: Table, layout: Layout) -> list[int]:
    """The columns that have a URL, or a path to a picture, in one of the first rows."""
    found: set[int] = set()
    # A URL in the header belongs to the first product of a file without a header.
    found |= {at for at, cell in enumerate(layout.header) if has_url(cell)}
    for row in islice(_rows_below(table, layout), _SAMPLE_ROWS):
        found |= {
            at
            for at, cell in enumerate(row.cells[: len(layout.header)])
            if cell and at not in found and (has_url(cell) or _is_picture_path(cell))
        }
    return sorted(found)


def _rows_below(table: Table, layout: Layout) -> Iterator[Row]:
    try:
        for row in table.rows(layout.delimiter):
            if row.line > layout.header_line:
                yield row
    except Problem:
        return  # a problem in a later row does not matter here


_PICTURE_URL = re.compile(rf"\.(?:{'|'.join(EXTENSIONS)})\b", re.IGNORECASE)
_PICTURE_NAME = re.compile(
    r"image|img|pic|photo|foto|bild|imagen|afbeelding|immagin|zdj|media", re.IGNORECASE
)
_PICTURES = tuple(f".{extension}" for extension in EXTENSIONS)


def _is_picture_path(cell: str) -> bool:
    return cell.strip().lower().endswith(_PICTURES) and is_path(cell)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(_cut(name)) for name in names[:_SHOWN_COLUMNS])
    return shown if len(names) <= _SHOWN_COLUMNS else f"{shown} and {len(names)} in all"


def _cut(value: str) -> str:
    """The text, cut to the length that an answer repeats."""
    return value[:MAX_SHOWN_CHARACTERS]

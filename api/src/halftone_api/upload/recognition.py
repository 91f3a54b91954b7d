"""Decides what kind of table a file is: the native CSV, a system's export, or columns that the form
names.

Raises Problem, which lists what was found and what is accepted.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.cells import CellRules, has_url
from halftone_api.upload.column_choice import AUTO, ColumnChoice, MappedColumns, positions
from halftone_api.upload.column_contents import contents_of
from halftone_api.upload.layout import MAPPED, NATIVE, ImageColumn, Layout, header_layout
from halftone_api.upload.likely_header import header_rank
from halftone_api.upload.missing_columns import missing_columns
from halftone_api.upload.native_columns import NATIVE_COLUMNS, native_name
from halftone_api.upload.profiles import PROFILES
from halftone_api.upload.profiles.profile import (
    Profile,
    columns_by_preference,
    columns_of,
    normal_name,
    score,
)
from halftone_api.upload.table import Beginning, Table

MAX_COLUMNS = 16_384  # a spreadsheet's limit
# The header is searched in the first 12 rows that are not blank.
_HEADER_WITHIN = 12


def recognise(table: Table, wanted: ColumnChoice) -> Layout:
    """The layout of the file. Raises Problem if none fits."""
    beginnings = table.beginnings(_HEADER_WITHIN)
    layout = _find_layout(beginnings, wanted)
    if layout is None:
        recognised = partial(_find_layout, wanted=ColumnChoice())
        raise table.malformed or missing_columns(table, beginnings, wanted, recognised)
    if len(layout.header) > MAX_COLUMNS:
        raise Problem(
            ProblemCode.MALFORMED_CSV,
            f"The header has more than {MAX_COLUMNS} columns.",
            line=layout.header_line,
        )
    return _complete(layout, table, wanted)


def fits(beginnings: Sequence[Beginning], wanted: ColumnChoice) -> bool:
    """Whether these rows have a header that `recognise` accepts; used to choose a sheet."""
    return any(
        _fit(beginning, at, wanted) is not None
        for beginning in beginnings
        for at in range(len(beginning.rows))
    )


def _complete(layout: Layout, table: Table, wanted: ColumnChoice) -> Layout:
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
    images = [at for at in contents_of(table, layout).images if at not in known]
    return replace(layout, images=[ImageColumn(at, at) for at in images])


def _rules(rules: CellRules, base_url: str | None) -> CellRules:
    return rules if base_url is None else replace(rules, base_url=base_url)


# --- which header ---


def _find_layout(beginnings: Sequence[Beginning], wanted: ColumnChoice) -> Layout | None:
    """The best fit over all delimiters and rows; the likeliest header, or the first, among equals.

    Columns that the form gives by number fit any row that is long enough.
    """
    fits = [
        (fit[0], header_rank(beginning, at) if wanted.columns else (), -at, fit[1])
        for beginning in beginnings
        for at in range(len(beginning.rows))
        if (fit := _fit(beginning, at, wanted)) is not None
    ]
    return max(fits, key=lambda each: each[:3])[3] if fits else None


def _fit(beginning: Beginning, at: int, wanted: ColumnChoice) -> tuple[int, Layout] | None:
    """How well a row serves as the header, and the layout it gives."""
    row = beginning.rows[at]
    names = [normal_name(cell) for cell in row.cells]
    base = header_layout(beginning, at)
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


def _fit_native(names: Sequence[str], base: Layout) -> tuple[int, Layout] | None:
    """The native CSV's layout, if the header has all of its columns."""
    standard = [native_name(name) for name in names]
    if any(name not in standard for name in NATIVE_COLUMNS):
        return None
    serial, name, urls = (standard.index(each) for each in NATIVE_COLUMNS)
    layout = replace(
        base, profile=NATIVE, keys=(serial,), names=(name,), images=(ImageColumn(urls, urls),)
    )
    return 1000, layout


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
    key, name = positions(names, wanted.key), positions(names, wanted.name)
    each = [positions(names, image) for image in wanted.images]
    if key is None or name is None or any(found is None for found in each):
        return None
    images = list(dict.fromkeys(column for found in each for column in found or ()))
    if any(has_url(base.header[at]) for at in images):
        return None  # the row is a product of a file without a header
    layout = replace(
        base,
        profile=MAPPED,
        keys=key[:1],
        names=name[:1],
        images=[ImageColumn(column, column) for column in images],
    )
    return 1, layout

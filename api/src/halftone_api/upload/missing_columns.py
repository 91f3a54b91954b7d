"""The refusal of a table whose header is not known: what it has, and what to send so that it is
read.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.cells import has_url
from halftone_api.upload.column_choice import AUTO, ColumnChoice, positions
from halftone_api.upload.column_contents import ColumnContents, contents_of
from halftone_api.upload.column_words import LIKELY_KEYS, LIKELY_NAMES, PICTURE_NAME
from halftone_api.upload.layout import NATIVE, Layout, column_reference, header_layout
from halftone_api.upload.likely_header import likely_header
from halftone_api.upload.listing import MAX_LISTED_COLUMNS, MAX_SHOWN_COLUMNS, cut, listed
from halftone_api.upload.native_columns import NATIVE_COLUMNS, native_name
from halftone_api.upload.profiles.profile import normal_name
from halftone_api.upload.table import Beginning, Table
from halftone_api.upload.transposed import is_transposed

_BAR = "|"

# Recognises these rows as a known export.
Recognise = Callable[[Sequence[Beginning]], Layout | None]


def missing_columns(
    table: Table, beginnings: Sequence[Beginning], wanted: ColumnChoice, recognise: Recognise
) -> Problem:
    """The problem to raise: the missing columns, the columns found, those with URLs, and a
    suggested `columns`.
    """
    misfit = _misfit(table, beginnings, wanted, recognise)
    header = misfit.header
    return Problem(
        ProblemCode.MISSING_COLUMNS,
        " ".join([_what_is_missing(misfit), f"It has {listed(header)}.", _advice(misfit)]),
        columns=misfit.missing,
        found_columns=[cut(cell) for cell in header[:MAX_LISTED_COLUMNS]],
        url_columns=misfit.columns_with_urls[:MAX_LISTED_COLUMNS],
        suggested_columns=misfit.suggestion,
    )


class SuggestedColumns(TypedDict, total=False):
    """A value for the form field `columns`: names, or numbers from 1 if the names do not tell."""

    key: str | int
    name: str | int
    images: list[str | int]


@dataclass(frozen=True)
class _Misfit:
    """A table without a known header.

    `header` is the likeliest row, as a comma, semicolon or tab splits it; `layout` splits it by
    bars if they separate its columns. `known` is the layout of a known export if the form asked
    for something else.
    """

    sheet: str | None
    wanted: ColumnChoice
    header: Sequence[str]
    layout: Layout
    contents: ColumnContents
    known: Layout | None
    separated_by_bars: bool
    is_transposed: bool

    @property
    def missing(self) -> list[str]:
        names = [normal_name(cell) for cell in self.header]
        wanted = self.wanted
        if wanted.columns is not None:
            absent = [one for one in wanted.columns.all if positions(names, one) is None]
            return [cut(str(one)) for one in absent]
        if wanted.profile not in (AUTO, NATIVE):
            return []
        standard = set(map(native_name, names))
        return [name for name in NATIVE_COLUMNS if name not in standard]

    @property
    def columns_with_urls(self) -> list[str]:
        return [cut(self.layout.header[at]) for at in self.contents.images]

    @property
    def separated_by_spaces(self) -> bool:
        header = self.layout.header
        return len(header) == 1 and len(re.findall(r" {2,}", header[0].strip())) > 1

    @property
    def has_header(self) -> bool:
        return not any(map(has_url, self.layout.header))

    @property
    def suggestion(self) -> SuggestedColumns | None:
        """The `columns` that read the table; None if it has no images."""
        header = self.layout.header
        images = self.likely_images
        if not images or self.is_transposed:
            return None
        names = [normal_name(cell) for cell in header]
        others = [at for at in range(len(names)) if at not in images and names[at]]
        key = _likely(names, others, LIKELY_KEYS)
        name = _likely(names, [at for at in others if at != key], LIKELY_NAMES)
        if key is None:
            key = min((at for at in others if at != name), default=None)
        suggested: SuggestedColumns = {}
        if key is not None:
            suggested["key"] = self._reference(key)
        if name is not None:
            suggested["name"] = self._reference(name)
        suggested["images"] = [self._reference(at) for at in images[:MAX_SHOWN_COLUMNS]]
        return suggested

    @property
    def likely_images(self) -> Sequence[int]:
        """The columns that are called or look like images, not like links to pages; all columns
        with URLs if none does.
        """
        header, contents = self.layout.header, self.contents
        if self.separated_by_spaces:
            return []
        likely = [
            at
            for at in contents.images
            if at in contents.pictures or at in contents.paths or PICTURE_NAME.search(header[at])
        ]
        return likely or contents.images

    def _reference(self, column: int) -> str | int:
        # A file without a header gets one first, so only numbers can be right.
        return column_reference(self.layout.header, column) if self.has_header else column + 1


def _misfit(
    table: Table, beginnings: Sequence[Beginning], wanted: ColumnChoice, recognise: Recognise
) -> _Misfit:
    beginning, at = likely_header(beginnings)
    header = beginning.rows[at].cells
    known = recognise(beginnings)
    bars = None if len(header) > 1 else _split_by_bars(table, len(beginning.rows))
    if bars is not None:
        known = recognise([bars])
        beginning, at = likely_header([bars])
    layout = header_layout(beginning, at)
    return _Misfit(
        sheet=table.sheet,
        wanted=wanted,
        header=header,
        layout=layout,
        contents=contents_of(table, layout),
        known=known,
        separated_by_bars=bars is not None,
        is_transposed=is_transposed([row.cells for row in beginning.rows]),
    )


def _split_by_bars(table: Table, rows: int) -> Beginning | None:
    """The first rows if bars separate their columns, as in some exports."""
    try:
        first = list(islice((row for row in table.rows(_BAR) if not row.is_blank), rows))
    except Problem:
        return None
    with_bars = sum(len(row.cells) > 2 for row in first)
    return Beginning(table.kind, _BAR, first) if 2 * with_bars > len(first) else None


def _likely(names: Sequence[str], among: Sequence[int], words: Sequence[str]) -> int | None:
    return next((at for word in words for at in among if names[at] == word), None)


def _what_is_missing(misfit: _Misfit) -> str:
    wanted = misfit.wanted
    sheet = "" if misfit.sheet is None else f" of the sheet {misfit.sheet!r}"
    line = misfit.layout.header_line
    header = f"The header on line {line}{sheet}"
    needs = f"halftone needs {listed(NATIVE_COLUMNS)}, or the columns of an export that it knows."
    if not misfit.has_header:
        return f"The file has no header: line {line}{sheet} has a URL. {needs}"
    if wanted.columns is not None:
        missing = listed(misfit.missing)
        return f"{header} has no column {missing}, which the form field 'columns' names."
    if wanted.profile not in (AUTO, NATIVE):
        return f"{header} is not that of the profile {wanted.profile!r}."
    if not misfit.missing:
        return f"{header} has every column of the native CSV, but must be the first row."
    return f"{header} has no column {listed(misfit.missing)}. {needs}"


def _advice(misfit: _Misfit) -> str:
    if misfit.is_transposed and misfit.known is None:
        return (
            "Its products seem to be its columns: the names are below each other in the first"
            " column. Transpose the table, so that each product has a row."
        )
    steps = [*_changes_of_the_file(misfit), *_fields_to_send(misfit)]
    if not steps:
        return _without_images(misfit)
    shown = misfit.suggestion is not None and misfit.known is None and misfit.has_header
    what = "URLs" if misfit.contents.urls else "paths"
    where = f"Cells with {what} are in {listed(misfit.columns_with_urls)}. " if shown else ""
    return f"{where}To take the file, {', and '.join(steps)}."


def _changes_of_the_file(misfit: _Misfit) -> list[str]:
    changes = []
    if misfit.separated_by_bars:
        changes.append("write the line sep=| above the first one, since '|' separates its columns")
    if not misfit.has_header:
        changes.append("write a line with the names of the columns above its first row")
    if misfit.contents.without_scheme and not misfit.contents.urls:
        changes.append("write https:// in front of each URL, which begins with www. now")
    wrapped = [at for at in misfit.likely_images if at in misfit.contents.wrapped]
    if wrapped and misfit.known is None:
        cells = listed([misfit.layout.header[at] for at in wrapped])
        changes.append(f"leave only the URLs in the cells of {cells}, without the text around them")
    return changes


def _fields_to_send(misfit: _Misfit) -> list[str]:
    wanted, contents = misfit.wanted, misfit.contents
    if misfit.known is not None:
        return [f"send profile={misfit.known.profile}, or no profile"]
    suggestion = misfit.suggestion
    if suggestion is None:
        return []
    alone = "" if wanted.profile == AUTO else f", without profile={wanted.profile}"
    fields = [f"send the form field columns={json.dumps(suggestion, ensure_ascii=False)}{alone}"]
    if not contents.urls and not contents.without_scheme:
        fields.append(
            "send base_url with the address that the paths in these cells are below, such as"
            " https://shop.example/media/"
        )
    return fields


def _without_images(misfit: _Misfit) -> str:
    layout, contents = misfit.layout, misfit.contents
    if contents.data:
        holding = listed([layout.header[at] for at in sorted(contents.data)])
        return f"{holding} holds the pictures themselves. Export their URLs instead."
    if misfit.separated_by_spaces:
        return (
            "Its columns seem to be separated by spaces. Separate them by commas, semicolons or"
            " tabs."
        )
    if contents.rows == 0:
        return "It has no row below the header."
    return (
        f"None of its {contents.rows} rows has an image URL or a path to a picture. Add a column"
        " with the URLs, such as 'Image', and send the form field"
        f" columns={_with_an_image_column(misfit)}."
    )


def _with_an_image_column(misfit: _Misfit) -> str:
    """`columns` for the table when it has got the image column that it lacks."""
    header = [normal_name(cell) for cell in misfit.layout.header]
    named = [at for at in range(len(header)) if header[at]]
    key = _likely(header, named, LIKELY_KEYS)
    key = min(named, default=None) if key is None else key
    known = {} if key is None else {"key": cut(str(column_reference(misfit.layout.header, key)))}
    return json.dumps({**known, "images": ["Image"]}, ensure_ascii=False)

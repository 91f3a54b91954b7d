"""The choice of a file's columns on the start page."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from halftone_api.upload.column_choice import positions
from halftone_api.upload.layout import Columns, column_reference
from halftone_api.upload.listing import MAX_LISTED_COLUMNS, MAX_SHOWN_CHARACTERS
from halftone_api.upload.missing_columns import SuggestedColumns
from halftone_api.upload.profiles.profile import normal_name

ROLES = ("key", "name", "images")


@dataclass(frozen=True)
class ColumnChoice:
    """One column of the file. `value` is its JSON in the form field `columns`; `roles` are the
    roles it has now.
    """

    label: str
    value: str
    roles: frozenset[str]


def column_choices(header: Sequence[str], chosen: Columns | SuggestedColumns) -> list[ColumnChoice]:
    """The columns of a file, those with images first. `chosen` is a value of the form field
    `columns`.
    """
    names = [normal_name(cell) for cell in header]
    images = [at for image in chosen.get("images") or () for at in positions(names, image) or ()]
    roles = {
        "key": positions(names, chosen.get("key")) or [],
        "name": positions(names, chosen.get("name")) or [],
        "images": images,
    }
    shown = range(min(len(header), MAX_LISTED_COLUMNS))
    order = dict.fromkeys([*(at for at in images if at in shown), *shown])
    return [
        ColumnChoice(
            label=_label(header, at),
            value=json.dumps(_reference(header, at)),
            roles=frozenset(role for role in ROLES if at in roles[role]),
        )
        for at in order
    ]


def _reference(header: Sequence[str], at: int) -> str | int:
    # A refusal cuts long names, and a cut name finds no column.
    if len(header[at]) >= MAX_SHOWN_CHARACTERS:
        return at + 1
    return column_reference(header, at)


def _label(header: Sequence[str], at: int) -> str:
    name = header[at].strip()
    if not name:
        return f"Column {at + 1}"
    return name if isinstance(_reference(header, at), str) else f"{name} (column {at + 1})"

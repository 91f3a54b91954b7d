"""What a system's export looks like, and how a header is recognised as one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from halftone_api.upload.cells import INVISIBLE, NO_RULES, CellRules

# A column's name as `normal_name` returns it, or a pattern that matches such a name in full.
Name = str | re.Pattern[str]

_UNSEEN = re.compile(f"[{INVISIBLE}\\x00-\\x08]")
_SPACE = re.compile(r"\s+")


def normal_name(cell: str) -> str:
    """A column's name for comparison: ignores case, repeated spaces, line breaks, invisible
    characters and the asterisk of required columns.
    """
    return _SPACE.sub(" ", _UNSEEN.sub("", cell)).strip(" *").casefold()


@dataclass(frozen=True)
class Profile:
    """A system's export.

    `requires`: columns that only this export has together. If several profiles fit, recognition
    takes the one with the most required columns.

    `images`: the image columns; `or_images`: the image columns if none of `images` exists. With
    `images_by_content`, the image columns are those whose cells look like images.

    `key` and `product`: the columns with a product's key and its name, in order of preference;
    `key_otherwise`: the key of a row whose `key` columns are empty.

    `outputs`: maps an image column to the column that takes its output URLs, if that is another
    one.

    `follow_up_rows`: a row without key and name, or with the key of the row above, belongs to it.

    `before`: a pattern for the start of a cell above the header.

    `example_keys`: keys of rows that the system ignores.
    """

    name: str
    title: str
    requires: Sequence[Name]
    key: Sequence[Name]
    product: Sequence[Name]
    images: Sequence[Name] = ()
    or_images: Sequence[Name] = ()
    images_by_content: bool = False
    key_otherwise: Sequence[Name] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    follow_up_rows: bool = False
    rules: CellRules = NO_RULES
    before: "re.Pattern[str] | None" = None
    example_keys: frozenset[str] = frozenset()


def score(profile: Profile, names: Sequence[str], above: Sequence[Sequence[str]]) -> int:
    """The number of required columns if the header has all of them, else 0. A match of `before`
    adds 1, and without one a profile with `before` scores 0.
    """
    known = set(names)
    if not all(_has(known, name) for name in profile.requires):
        return 0
    if profile.before is None:
        return len(profile.requires)
    before = profile.before
    marked = any(before.match(cell.strip()) for cells in above for cell in cells)
    return len(profile.requires) + 1 if marked else 0


def columns_of(names: Sequence[str], wanted: Sequence[Name]) -> list[int]:
    """Every column with one of these names, in the order of the file."""
    literal = {name for name in wanted if isinstance(name, str)}
    patterns = [name for name in wanted if not isinstance(name, str)]
    return [
        index
        for index, name in enumerate(names)
        if name in literal or any(pattern.fullmatch(name) for pattern in patterns)
    ]


def columns_by_preference(names: Sequence[str], wanted: Sequence[Name]) -> list[int]:
    """The first column with each name, in the order of `wanted`."""
    found = [columns_of(names, [name])[:1] for name in wanted]
    return list(dict.fromkeys(index for columns in found for index in columns))


def _has(known: set[str], name: Name) -> bool:
    return name in known if isinstance(name, str) else any(map(name.fullmatch, known))

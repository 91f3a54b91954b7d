"""The form's choice of columns: a profile, or the columns by name or number. Without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from halftone_api.upload.profiles.profile import normal_name

AUTO = "auto"


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
class ColumnChoice:
    """A profile's name or AUTO, or the columns themselves."""

    profile: str = AUTO
    columns: MappedColumns | None = None
    base_url: str | None = None


def positions(names: Sequence[str], column: str | int | None) -> list[int] | None:
    """The positions of a column among normal names: several if its name repeats, none if no column
    is wanted. None if the header lacks the column.
    """
    if column is None:
        return []
    if isinstance(column, int):
        return [column - 1] if column <= len(names) else None
    found = [at for at, name in enumerate(names) if name == normal_name(column)]
    return found or None

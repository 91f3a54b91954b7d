"""How a file was understood: which columns it has, and how it is written back. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from typing_extensions import TypedDict

from halftone_api.upload.cells import NO_RULES, CellRules
from halftone_api.upload.profiles.profile import normal_name
from halftone_api.upload.table import Beginning, FileKind, Row
from halftone_shared.model.stored_json import StoredJson

NATIVE = "native"
MAPPED = "columns"
OUTPUT_COLUMN = "Output Image Urls"


class Columns(TypedDict):
    """The columns that were read, in the form of the form field `columns`."""

    key: str | int | None
    name: str | int | None
    images: list[str | int]


@dataclass(frozen=True)
class ImageColumn:
    """URLs are read from the column `read`, or from `write` if that is empty. When cells are
    replaced, output URLs go to `write`.
    """

    read: int
    write: int


@dataclass(frozen=True)
class Layout:
    """A file's header and columns; all columns are positions from 0.

    `profile` is NATIVE, MAPPED or a system's name. `keys` and `names` are in order of preference; a
    row with no key uses the first filled column of `keys_otherwise`. `above` are the rows above the
    header. `header_kinds`, and the kinds in `above`, are those of a workbook's cells.
    """

    profile: str
    kind: FileKind
    delimiter: str
    header: Sequence[str]
    header_line: int
    keys: Sequence[int]
    names: Sequence[int]
    images: Sequence[ImageColumn]
    keys_otherwise: Sequence[int] = ()
    rules: CellRules = NO_RULES
    follow_up_rows: bool = False
    example_keys: frozenset[str] = frozenset()
    has_bom: bool = False
    separator_line: str | None = None
    sheet: str | None = None
    header_kinds: str = ""
    above: Sequence[Row] = field(default_factory=tuple)

    @property
    def is_native(self) -> bool:
        return self.profile == NATIVE

    @property
    def replaces_by_default(self) -> bool:
        """A recognised export is written for re-import, so its URLs are replaced; other files get a
        column.
        """
        return self.profile not in (NATIVE, MAPPED)

    def column_named(self, name: str) -> int | None:
        """The column with this name, such as one for output URLs; the last one of several."""
        wanted = normal_name(name)
        found = [at for at, cell in enumerate(self.header) if normal_name(cell) == wanted]
        return found[-1] if found else None

    def columns_json(self) -> Columns:
        """The columns in the form of the form field `columns`."""
        return {
            "key": self._shown(self.keys[0]) if self.keys else None,
            "name": self._shown(self.names[0]) if self.names else None,
            "images": [self._shown(column.read) for column in self.images],
        }

    def _shown(self, column: int) -> str | int:
        return column_reference(self.header, column)

    def to_json(self) -> StoredJson:
        """The JSON stored with the request; header and delimiter are stored beside it."""
        stored = asdict(self)
        del stored["header"], stored["delimiter"]
        stored["above"] = [row._asdict() for row in self.above]
        stored["example_keys"] = sorted(self.example_keys)
        stored["rules"]["empty"] = sorted(self.rules.empty)
        return stored

    @classmethod
    def from_json(
        cls, stored: StoredJson | None, header: Sequence[str], delimiter: str
    ) -> "Layout":
        """The layout of a stored request; the native one for requests stored before layouts
        existed.
        """
        if stored is None:
            return cls(NATIVE, FileKind.CSV, delimiter, header, 1, (), (), ())
        rules = CellRules(**{**stored["rules"], "empty": frozenset(stored["rules"]["empty"])})
        rebuilt = {
            "kind": FileKind(stored["kind"]),
            "images": [ImageColumn(**column) for column in stored["images"]],
            "rules": rules,
            "example_keys": frozenset(stored["example_keys"]),
            "above": [Row(**row) for row in stored["above"]],
        }
        return cls(**{**stored, **rebuilt, "header": header, "delimiter": delimiter})


def header_layout(beginning: Beginning, at: int) -> Layout:
    """The layout of a table whose header is this row; its columns are still to be found."""
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


def column_reference(header: Sequence[str], column: int) -> str | int:
    """How `columns` names a column: by its name, or by its number from 1 if the name is empty or
    repeats.
    """
    name = header[column].strip()
    same = [cell for cell in header if normal_name(cell) == normal_name(name)]
    return name if name and len(same) == 1 else column + 1

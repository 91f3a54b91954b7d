"""Queries on the rows of a file that are not products."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select, tuple_

from halftone_shared.db.tables import other_rows


@dataclass(frozen=True)
class OtherRowAt:
    """A row as uploaded, and its place: the `position`-th after the product `after_seq`."""

    after_seq: int
    position: int
    line: int
    cells: list[str]
    kinds: str

    @property
    def place(self) -> tuple[int, int]:
        return self.after_seq, self.position


def other_row_page(
    connection: Connection, request_id: UUID, *, after: tuple[int, int], limit: int
) -> list[OtherRowAt]:
    """At most `limit` rows after the place `after`, in the order of the file."""
    columns = other_rows.c
    query = (
        select(columns.after_seq, columns.position, columns.line, columns.cells, columns.cell_kinds)
        .where(columns.request_id == request_id)
        .where(tuple_(columns.after_seq, columns.position) > after)
        .order_by(columns.after_seq, columns.position)
        .limit(limit)
    )
    return [
        OtherRowAt(row.after_seq, row.position, row.line, row.cells, row.cell_kinds or "")
        for row in connection.execute(query)
    ]

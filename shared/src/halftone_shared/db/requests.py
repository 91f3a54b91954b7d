"""Queries on requests: writing a new one with its products, and reading how it goes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, RowMapping, insert, text, update

from halftone_shared.db.barrier import SHARDS
from halftone_shared.db.fragments import OPEN_SHARDS, counted
from halftone_shared.db.tables import COUNTERS, request_shards, requests
from halftone_shared.model.image_names import image_token
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Outcome, Status, WebhookStatus

# Whoever dispatches listens here, so that an upload starts at once and an idle dispatcher hardly
# asks.
WORK_CHANNEL = "halftone_work"


@dataclass(frozen=True)
class NewRequest:
    """A request as it is accepted.

    `trace_id` is the upload's X-Request-Id; all logs about the request carry it. `image_key` is
    secret: the names of the output images follow from it.
    """

    id: UUID
    owner_id: UUID | None
    options: dict[str, Any]
    csv_filename: str
    csv_header: Sequence[str]
    csv_delimiter: str
    webhook_url: str | None
    webhook_secret: str | None
    trace_id: str | None = None
    image_key: UUID = field(default_factory=uuid4)


@dataclass(frozen=True)
class NewProduct:
    """A row of the CSV. `cells` are the uploaded cells, one a header column, verbatim; `line` is
    where the row starts.
    """

    line: int
    serial_number: int
    product_name: str
    cells: Sequence[str]
    input_image_urls: Sequence[str]
    output_names: Sequence[str] | None = None


class ProductWriter:
    """Writes products by COPY, numbering them from 1 and counting as it goes."""

    def __init__(self, request_id: UUID, write_row: Callable[[Sequence[Any]], None]) -> None:
        self._request_id = request_id
        self._write_row = write_row
        self.total_products = 0
        self.total_images = 0

    def write(self, product: NewProduct) -> None:
        self.total_products += 1
        self.total_images += len(product.input_image_urls)
        self._write_row(
            (
                self._request_id,
                self.total_products,
                product.line,
                product.serial_number,
                product.product_name,
                product.cells,
                product.input_image_urls,
                product.output_names,
            )
        )


_COPY_PRODUCTS = """
    COPY products (request_id, seq, line, serial_number, product_name, cells, input_image_urls,
        output_names)
    FROM STDIN (FORMAT BINARY)
"""
_COPY_TYPES = ("uuid", "int4", "int4", "int8", "text", "text[]", "text[]", "text[]")


@contextmanager
def insert_request(connection: Connection, request: NewRequest) -> Iterator[ProductWriter]:
    """Write a request, then through the yielded writer its products, then its barrier; dispatchers
    wake at the commit.

    Runs in the caller's transaction: when the block raises, nothing of it remains. A request needs
    at least one product.
    """
    # The totals are known when the last row is read; no one sees the row before the commit.
    connection.execute(
        insert(requests).values(
            id=request.id,
            owner_id=request.owner_id,
            options=request.options,
            csv_filename=request.csv_filename,
            csv_header=list(request.csv_header),
            csv_delimiter=request.csv_delimiter,
            image_key=request.image_key,
            image_token=image_token(request.image_key),
            total_products=0,
            total_images=0,
            open_shards=1,
            webhook_url=request.webhook_url,
            webhook_secret=request.webhook_secret,
            trace_id=request.trace_id,
        )
    )
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    with driver.cursor() as cursor, cursor.copy(_COPY_PRODUCTS) as copy:
        copy.set_types(_COPY_TYPES)
        writer = ProductWriter(request.id, copy.write_row)
        yield writer
    shard_totals = _shard_totals(writer.total_products)
    connection.execute(
        insert(request_shards),
        [
            {"request_id": request.id, "shard": shard, "total": total}
            for shard, total in shard_totals.items()
        ],
    )
    connection.execute(
        update(requests)
        .where(requests.c.id == request.id)
        .values(
            total_products=writer.total_products,
            total_images=writer.total_images,
            open_shards=len(shard_totals),
        )
    )
    connection.execute(text(f"NOTIFY {WORK_CHANNEL}"))


def _shard_totals(total_products: int) -> dict[int, int]:
    """How many of the products 1…N fall into each shard (seq % SHARDS); shards without any are left
    out.
    """
    totals = {
        shard: (total_products - shard) // SHARDS + (1 if shard else 0) for shard in range(SHARDS)
    }
    return {shard: total for shard, total in totals.items() if total}


_SELECT_STATUS = f"""
    SELECT r.id, r.status, r.outcome, r.run, r.options, r.csv_filename, r.csv_header,
           r.csv_delimiter, r.total_products, r.total_images,
           {", ".join(f"{counted(name)}::bigint AS {name}" for name in COUNTERS)},
           add_counts(r.errors, coalesce(open.errors, '{{}}')) AS errors,
           r.created_at, r.started_at, greatest(r.updated_at, open.updated_at) AS updated_at,
           r.completed_at, r.webhook_url, event.status AS webhook_status,
           event.attempts AS webhook_attempts, event.last_status_code AS webhook_last_status_code,
           event.last_error AS webhook_last_error, event.next_attempt_at AS webhook_next_attempt_at,
           event.delivered_at AS webhook_delivered_at
    FROM requests AS r {OPEN_SHARDS}
    LEFT JOIN webhook_events AS event ON event.request_id = r.id AND event.run = r.run
"""  # noqa: S608 - the parts are this module's constants

_GET_STATUS = text(
    f"""{_SELECT_STATUS}
    WHERE r.id = :request_id AND r.expired_at IS NULL
      AND (CAST(:owner AS uuid) IS NULL OR r.owner_id = :owner)
    """
)

_LIST_STATUS = text(
    f"""{_SELECT_STATUS}
    WHERE r.expired_at IS NULL AND (CAST(:owner AS uuid) IS NULL OR r.owner_id = :owner)
      AND (CAST(:status AS text) IS NULL OR r.status = :status)
      AND (CAST(:before_time AS timestamptz) IS NULL
           OR (r.created_at, r.id) < (:before_time, CAST(:before_id AS uuid)))
    ORDER BY r.created_at DESC, r.id DESC LIMIT :limit
    """
)


def get_status(
    connection: Connection, request_id: UUID, *, owner: UUID | None
) -> RequestStatus | None:
    """A request as its owner reads it; None where it does not exist, is being deleted, or, with
    `owner`, is another's.
    """
    row = connection.execute(_GET_STATUS, {"request_id": request_id, "owner": owner})
    found = row.mappings().one_or_none()
    return None if found is None else _request_status(found)


def list_status(
    connection: Connection,
    *,
    owner: UUID | None,
    status: Status | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[RequestStatus]:
    """The newest requests first, at most `limit`, older than `before` (creation time and ID of the
    last one seen).
    """
    before_time, before_id = before or (None, None)
    rows = connection.execute(
        _LIST_STATUS,
        {
            "owner": owner,
            "status": status,
            "before_time": before_time,
            "before_id": before_id,
            "limit": limit,
        },
    )
    return [_request_status(row) for row in rows.mappings()]


def _request_status(row: RowMapping) -> RequestStatus:
    return RequestStatus(
        **{
            **row,
            "status": Status(row["status"]),
            "outcome": row["outcome"] and Outcome(row["outcome"]),
            "webhook_status": row["webhook_status"] and WebhookStatus(row["webhook_status"]),
        }
    )

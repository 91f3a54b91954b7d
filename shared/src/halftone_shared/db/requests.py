"""Queries on requests: inserting one with its products, and reading its status."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any, cast
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, RowMapping, insert, select, text, update

from halftone_shared.db.barrier import SHARDS
from halftone_shared.db.engine import driver_statement
from halftone_shared.db.fragments import OPEN_SHARDS, counted
from halftone_shared.db.tables import COUNTERS, FINAL, request_shards, requests
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_names import image_token
from halftone_shared.model.request_status import RequestStatus, WaitingHost
from halftone_shared.model.states import Outcome, Status, WaitReason, WebhookStatus
from halftone_shared.model.stored_json import StoredJson
from halftone_shared.runtime.pauses import with_pauses

# Dispatchers LISTEN on this channel, so that an upload starts at once and an idle dispatcher rarely
# polls.
WORK_CHANNEL = "halftone_work"


# A status lists at most this many hosts that products wait for.
WAITING_HOSTS_SHOWN = 10


@dataclass(frozen=True)
class NewRequest:
    """A request to insert.

    `trace_id` is the upload's X-Request-Id; all logs about the request carry it. `image_key` is
    secret: the names of the output images are derived from it. `csv_layout` is the API's Layout as
    JSON. `sample` has the numbers of products and images in the whole file; None if the request has
    all of them.
    """

    id: UUID
    owner_id: UUID | None
    options: StoredJson
    csv_filename: str
    csv_header: Sequence[str]
    csv_delimiter: str
    webhook_url: str | None
    webhook_secret: str | None
    trace_id: str | None = None
    fresh: bool = False
    image_key: UUID = field(default_factory=uuid4)
    csv_layout: StoredJson | None = None
    sample: dict[str, int] | None = None
    webhook_sealed_url: str | None = None


@dataclass(frozen=True)
class NewProduct:
    """A row of the file with images. `cells` are the uploaded cells, verbatim; `line` is where the
    row starts.

    `serial_number` is the native CSV's. `product_key` is the text that identifies the product in
    the file. `kinds` has one character per cell of a workbook; it is empty if all cells are text.
    """

    line: int
    serial_number: int | None
    product_name: str | None
    cells: Sequence[str]
    input_image_urls: Sequence[str]
    output_names: Sequence[str] | None = None
    product_key: str | None = None
    kinds: str = ""


@dataclass(frozen=True)
class OtherRow:
    """A row of the file that is not a product. The output file has it unchanged."""

    line: int
    cells: Sequence[str]
    kinds: str = ""


class ProductWriter:
    """Writes products by COPY, numbering them from 1 and counting as it goes. The other rows wait
    in a temporary file, since one connection copies into one table at a time.
    """

    def __init__(
        self, request_id: UUID, write_row: Callable[[Sequence[Any]], None], spool: IO[str]
    ) -> None:
        self._request_id = request_id
        self._write_row = write_row
        self._spool = spool
        self._after_product = 0
        self.total_products = 0
        self.total_images = 0
        self.skipped_rows = 0
        self.largest_row_characters = 0

    def write(self, product: NewProduct) -> None:
        self._after_product = 0
        self.total_products += 1
        self.total_images += len(product.input_image_urls)
        self._measure(product.cells, product.input_image_urls)
        self._write_row(
            (
                self._request_id,
                self.total_products,
                product.line,
                product.serial_number,
                product.product_key,
                product.product_name,
                product.cells,
                product.kinds or None,
                product.input_image_urls,
                product.output_names,
            )
        )

    def write_other(self, row: OtherRow) -> None:
        self._after_product += 1
        self._measure(row.cells, ())
        stored = [self.total_products, self._after_product, row.line, row.cells, row.kinds or None]
        self._spool.write(json.dumps(stored, ensure_ascii=False))
        self._spool.write("\n")

    def _measure(self, cells: Sequence[str], urls: Sequence[str]) -> None:
        characters = sum(map(len, cells)) + sum(map(len, urls))
        self.largest_row_characters = max(self.largest_row_characters, characters)


_COPY_PRODUCTS = """
    COPY products (request_id, seq, line, serial_number, product_key, product_name, cells,
        cell_kinds, input_image_urls, output_names)
    FROM STDIN (FORMAT BINARY)
"""
_COPY_TYPES = (
    "uuid", "int4", "int4", "int8", "text", "text", "text[]", "text", "text[]", "text[]",
)  # fmt: skip
_COPY_OTHER_ROWS = """
    COPY other_rows (request_id, after_seq, position, line, cells, cell_kinds)
    FROM STDIN (FORMAT BINARY)
"""
_COPY_OTHER_TYPES = ("uuid", "int4", "int4", "int4", "text[]", "text")


@contextmanager
def insert_request(connection: Connection, request: NewRequest) -> Iterator[ProductWriter]:
    """Insert a request, then its products through the yielded writer, then its barrier. The commit
    wakes the dispatchers.

    Runs in the caller's transaction: if the block raises, nothing is kept. A request needs at least
    one product.
    """
    # The totals are known only after the last row; nobody can read the request before the commit.
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
            csv_layout=request.csv_layout,
            sample=request.sample,
            total_products=0,
            total_images=0,
            open_shards=1,
            webhook_url=request.webhook_url,
            webhook_sealed_url=request.webhook_sealed_url,
            webhook_secret=request.webhook_secret,
            trace_id=request.trace_id,
            fresh=request.fresh,
        )
    )
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        with driver.cursor() as cursor, cursor.copy(_COPY_PRODUCTS) as copy:
            copy.set_types(_COPY_TYPES)
            writer = ProductWriter(request.id, copy.write_row, spool)
            yield writer
        if spool.tell():
            _copy_other_rows(driver, request.id, spool)
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
            skipped_rows=writer.skipped_rows,
            largest_row_characters=writer.largest_row_characters,
        )
    )
    connection.execute(text(f"NOTIFY {WORK_CHANNEL}"))


def _copy_other_rows(driver: "psycopg.Connection[Any]", request_id: UUID, spool: IO[str]) -> None:
    spool.seek(0)
    with driver.cursor() as cursor, cursor.copy(_COPY_OTHER_ROWS) as copy:
        copy.set_types(_COPY_OTHER_TYPES)
        for line in with_pauses(spool):
            copy.write_row((request_id, *json.loads(line)))


def _shard_totals(total_products: int) -> dict[int, int]:
    """How many of the products 1…N fall into each shard (seq % SHARDS), without empty shards."""
    totals = {
        shard: (total_products - shard) // SHARDS + (1 if shard else 0) for shard in range(SHARDS)
    }
    return {shard: total for shard, total in totals.items() if total}


# Hosts that products of a running request wait for, the most products first. ix_products_waiting
# contains waiting products only.
_WAITING_FOR = f"""
    (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(to_jsonb(waiting))), '[]') FROM (
        SELECT waiting_host AS host, waiting_reason AS reason, count(*) AS products,
               CASE WHEN waiting_reason = '{WaitReason.RETRY_AFTER}'
                    THEN min(next_attempt_at) END AS until
        FROM products AS p
        WHERE p.request_id = r.id AND p.waiting_host IS NOT NULL AND p.status NOT IN {FINAL}
        GROUP BY waiting_host, waiting_reason ORDER BY count(*) DESC, waiting_host
        LIMIT {WAITING_HOSTS_SHOWN}) AS waiting)
"""  # noqa: S608 - the parts are constants
_SELECT_STATUS = f"""
    SELECT r.id, r.status, r.outcome, r.run, r.options, r.csv_filename, r.csv_header,
           r.csv_delimiter, r.total_products, r.total_images, r.skipped_rows,
           r.largest_row_characters, r.sample,
           {", ".join(f"{counted(name)}::bigint AS {name}" for name in COUNTERS)},
           add_counts(r.errors, coalesce(open.errors, '{{}}')) AS errors,
           r.created_at, r.started_at, greatest(r.updated_at, open.updated_at) AS updated_at,
           r.completed_at, r.webhook_url, event.status AS webhook_status,
           event.attempts AS webhook_attempts, event.last_status_code AS webhook_last_status_code,
           event.last_error AS webhook_last_error, event.next_attempt_at AS webhook_next_attempt_at,
           event.delivered_at AS webhook_delivered_at,
           {_WAITING_FOR} AS waiting_for
    FROM requests AS r {OPEN_SHARDS}
    LEFT JOIN webhook_events AS event ON event.request_id = r.id AND event.run = r.run
"""  # noqa: S608 - the parts are this module's constants

_GET_STATUS = driver_statement(
    f"""{_SELECT_STATUS}
    WHERE r.id = :request_id AND r.expired_at IS NULL
      AND (CAST(:owner AS uuid) IS NULL OR r.owner_id = :owner)
    """
)

_GET_STATUSES = driver_statement(
    f"{_SELECT_STATUS} WHERE r.id = ANY(:request_ids) AND r.expired_at IS NULL"
)

# The requests that an owner's search finds: see RequestSearch.
_FOUND = """
    r.expired_at IS NULL AND (CAST(:owner AS uuid) IS NULL OR r.owner_id = :owner)
      AND (CAST(:status AS text) IS NULL OR r.status = :status)
      AND (CAST(:error_code AS text) IS NULL OR jsonb_exists(r.errors, :error_code)
           OR jsonb_exists(open.errors, :error_code))
      AND (:search = '' OR r.csv_filename ILIKE :pattern OR r.id::text LIKE :prefix)
"""

_LIST_STATUS = text(
    f"""{_SELECT_STATUS}
    WHERE {_FOUND}
      AND (CAST(:before_time AS timestamptz) IS NULL
           OR (r.created_at, r.id) < (:before_time, CAST(:before_id AS uuid)))
    ORDER BY r.created_at DESC, r.id DESC LIMIT :limit
    """
)

_SUM = text(
    f"""
    SELECT count(*) AS requests, coalesce(sum(r.total_images), 0)::bigint AS total_images,
           coalesce(sum({counted("processed_images")}), 0)::bigint AS processed_images,
           coalesce(sum({counted("failed_images")}), 0)::bigint AS failed_images,
           coalesce(sum({counted("bytes_in")}), 0)::bigint AS bytes_in,
           coalesce(sum({counted("bytes_out")}), 0)::bigint AS bytes_out
    FROM requests AS r {OPEN_SHARDS} WHERE {_FOUND}
    """  # noqa: S608 - the parts are constants
)


def get_status(
    connection: Connection, request_id: UUID, *, owner: UUID | None
) -> RequestStatus | None:
    """A request as its owner reads it; None if it does not exist, is being deleted, or, with
    `owner`, belongs to another owner.
    """
    row = connection.exec_driver_sql(_GET_STATUS, {"request_id": request_id, "owner": owner})
    found = row.mappings().one_or_none()
    return None if found is None else _request_status(found)


def get_statuses(connection: Connection, request_ids: Sequence[UUID]) -> dict[UUID, RequestStatus]:
    """Requests of any owner, by ID, without those that do not exist or are being deleted."""
    rows = connection.exec_driver_sql(_GET_STATUSES, {"request_ids": list(request_ids)}).mappings()
    return {row["id"]: _request_status(row) for row in rows}


def owner_of(connection: Connection, request_id: UUID) -> UUID | None:
    """The request's owner; None without authentication, or if the request does not exist."""
    owner: UUID | None = connection.execute(
        select(requests.c.owner_id).where(requests.c.id == request_id)
    ).scalar()
    return owner


@dataclass(frozen=True, kw_only=True)
class RequestSearch:
    """Which requests to find. `owner`: None finds all owners' requests. `error_code`: only those
    with an image that failed with it. `text`: part of the file's name, or the start of the ID.
    """

    owner: UUID | None
    status: Status | None = None
    error_code: ImageErrorCode | None = None
    text: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "owner": self.owner,
            "status": self.status,
            "error_code": self.error_code,
            "search": self.text,
            "pattern": f"%{_literal(self.text)}%",
            "prefix": f"{_literal(self.text.lower())}%",
        }


@dataclass(frozen=True)
class RequestSums:
    """Sums over requests."""

    requests: int
    total_images: int
    processed_images: int
    failed_images: int
    bytes_in: int
    bytes_out: int


def sum_requests(connection: Connection, search: RequestSearch) -> RequestSums:
    """Sums over all requests that are found. Reads each of them."""
    return RequestSums(**connection.execute(_SUM, search.parameters).mappings().one())


def list_status(
    connection: Connection,
    search: RequestSearch,
    *,
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
            **search.parameters,
            "before_time": before_time,
            "before_id": before_id,
            "limit": limit,
        },
    )
    return [_request_status(row) for row in rows.mappings()]


def _literal(text: str) -> str:
    """The text as a LIKE pattern that matches only this text."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def _request_status(row: RowMapping) -> RequestStatus:
    return RequestStatus(
        **{
            **row,
            "status": Status(row["status"]),
            "outcome": row["outcome"] and Outcome(row["outcome"]),
            "waiting_for": [_waiting_host(one) for one in row["waiting_for"]],
            "webhook_status": row["webhook_status"] and WebhookStatus(row["webhook_status"]),
        }
    )


def _waiting_host(found: StoredJson) -> WaitingHost:
    until = found.get("until")
    return WaitingHost(
        found["host"],
        WaitReason(found["reason"]),
        found["products"],
        None if until is None else datetime.fromisoformat(until),
    )


def get_layout(connection: Connection, request_id: UUID) -> StoredJson | None:
    """The layout of the request's file, as the API stored it; None for native CSV before migration
    0006.
    """
    query = select(requests.c.csv_layout).where(requests.c.id == request_id)
    return cast("StoredJson | None", connection.execute(query).scalar())

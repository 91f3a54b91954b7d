"""Queries for what the owner of a request reads: pages of products, failures, existing images."""

import json
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from halftone_shared.db.engine import driver_statement
from halftone_shared.db.products import stored_results
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_names import parse_image_name
from halftone_shared.model.results import ImageResult
from halftone_shared.model.states import FINAL_STATUSES, Status


class ProductRow(NamedTuple):
    """A product as its request's owner reads it: the uploaded row and its results.

    `files` has the output image's name for each input URL, None for a URL without an output.
    `state` (the status) and `images_json` (facts and errors of the images) are decoded when they
    are read: most output files need neither. It is a tuple because a file has up to a million.
    """

    seq: int
    line: int
    serial_number: int | None
    product_key: str | None
    product_name: str | None
    cells: list[str]
    kinds: str
    state: str
    attempts: int
    input_image_urls: list[str]
    files: list[str | None]
    images_json: str | None

    @property
    def images(self) -> list[ImageResult | None]:
        """Each image's result, None if it has not ended."""
        stored = json.loads(self.images_json) if self.images_json else None
        return stored_results(self.input_image_urls, stored, self.files)

    @property
    def status(self) -> Status:
        return _STATUSES[self.state]

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL_STATUSES


_STATUSES = {status.value: status for status in Status}
# The fields of a ProductRow that are not columns of the table.
_EXPRESSIONS = {
    "kinds": "coalesce(cell_kinds, '')",
    "state": "status",
    "files": "coalesce(output_files, array_fill(NULL::text, ARRAY[cardinality(input_image_urls)]))",
    "images_json": "images::text",
}
_PAGE = f"""
    SELECT {", ".join(_EXPRESSIONS.get(name, name) for name in ProductRow._fields)}
    FROM products WHERE request_id = :request_id AND seq > :after_seq
"""  # noqa: S608 - the parts are constants


# Characters of all rows held in memory for one answer. A row's characters are counted at upload.
PAGE_CHARACTERS = 8 * 1024 * 1024


def rows_within(largest_row_characters: int, limit: int) -> int:
    """How many rows of a request may be read at once: `limit`, or fewer if rows are large."""
    return max(1, min(limit, PAGE_CHARACTERS // max(1, largest_row_characters)))


def product_page(
    connection: Connection,
    request_id: UUID,
    *,
    after_seq: int,
    limit: int,
    status: Status | None = None,
    error_code: ImageErrorCode | None = None,
) -> list[ProductRow]:
    """At most `limit` products after `after_seq`, in the order of the file. `status` selects
    products with that status, `error_code` those with an image that failed with that code.
    """
    conditions = []
    if status is not None:
        conditions.append("status = :status")
    if error_code is not None:
        conditions.append("images @> :with_error")
    if status is Status.FAILED or error_code is not None:
        # Lets PostgreSQL use ix_products_failed, for a few among a million.
        conditions.append("failed_images > 0")
    found = connection.exec_driver_sql(
        _page(tuple(conditions)),
        {
            "request_id": request_id,
            "after_seq": after_seq,
            "limit": limit,
            "status": status,
            "with_error": json.dumps([{"error": {"code": error_code}}]),
        },
    )
    return list(map(ProductRow._make, found.all()))


@cache
def _page(conditions: tuple[str, ...]) -> str:
    narrowed = "".join(f" AND {condition}" for condition in conditions)
    return driver_statement(f"{_PAGE}{narrowed} ORDER BY seq LIMIT :limit")


# Failures are counted in at most this many failed products: a request may have a million.
COUNTED_PRODUCTS = 10_000
_FAILURES = text(
    f"""
    SELECT image #>> '{{error,code}}' AS code, count(*) AS images,
           count(DISTINCT failed.seq) AS products, min(image #>> '{{error,message}}') AS message,
           bool_or((image #>> '{{error,retryable}}')::boolean) AS retried
    FROM (
        SELECT seq, images FROM products
        WHERE request_id = :request_id AND failed_images > 0 ORDER BY seq LIMIT {COUNTED_PRODUCTS}
    ) AS failed
    CROSS JOIN LATERAL jsonb_array_elements(failed.images) AS image
    WHERE image ->> 'status' = 'FAILED'
    GROUP BY 1 ORDER BY images DESC, 1
    """  # noqa: S608 - the parts are constants
)


@dataclass(frozen=True)
class Failures:
    """How many images of a request failed with one code, in how many products. `message` is one
    image's message.
    """

    code: ImageErrorCode
    images: int
    products: int
    message: str
    retried: bool


def failures_by_code(connection: Connection, request_id: UUID) -> list[Failures]:
    """Failures in the first COUNTED_PRODUCTS products that have any, most frequent code first."""
    rows = connection.execute(_FAILURES, {"request_id": request_id})
    return [
        Failures(ImageErrorCode(row.code), row.images, row.products, row.message, row.retried)
        for row in rows
    ]


_IMAGE_OWNER = text(
    """
    SELECT product.output_files[:position] = :name
           OR EXISTS (SELECT FROM jsonb_each(product.images -> (:position - 1) -> 'variants') AS one
                      WHERE one.value ->> 'file' = :name)
    FROM requests AS request
    JOIN products AS product ON product.request_id = request.id AND product.seq = :seq
    WHERE request.image_token = :token AND request.expired_at IS NULL
    """
)


def image_is_known(connection: Connection, name: str) -> bool:
    """Whether this is an output image of a finished slot. Only such files may be served."""
    slot = parse_image_name(name)
    if slot is None:
        return False
    found = connection.execute(
        _IMAGE_OWNER,
        {"token": slot.token, "seq": slot.seq, "position": slot.position, "name": name},
    ).scalar()
    return found is True

"""Queries on known images: the last source and result for each of an owner's image URLs, so that an
unchanged image is not compressed again.

A row is found only by its key, a hash of owner, URL, options and codec version. So images of
another owner are never reused, and a change of any part is a miss. The row names the files of the
newest request that has them and is deleted with that request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from halftone_shared.db.engine import driver_statement
from halftone_shared.model.results import ImageResult

# Rows not used for KEPT_DAYS are deleted, and the oldest rows beyond MAX_ROWS.
KEPT_DAYS = 90
MAX_ROWS = 20_000_000
MAX_VALIDATOR_CHARACTERS = 512


@dataclass(frozen=True)
class Source:
    """A fetched image: the SHA-256 of its bytes and the server's validators."""

    sha256: bytes
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True)
class KnownImage:
    """An image's source and result in the newest request that had it."""

    key: bytes
    request_id: UUID
    source: Source
    result: ImageResult


def image_key(owner_id: UUID | None, url: str, made_by: bytes) -> bytes:
    """The key of an image. `made_by` identifies its options and the codec's version."""
    owner = b"" if owner_id is None else owner_id.bytes
    return sha256(b"%d" % len(owner) + owner + sha256(made_by).digest() + url.encode()).digest()


_FIND = driver_statement(
    """
    SELECT key, request_id, sha256, etag, last_modified, file, result
    FROM known_images WHERE key = ANY(:keys)
    """
)


def find_known_images(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, KnownImage]:
    """The known images with these keys, by key."""
    return {
        row.key: KnownImage(
            row.key,
            row.request_id,
            Source(row.sha256, row.etag, row.last_modified),
            ImageResult.from_json(row.result, row.file),
        )
        for row in connection.exec_driver_sql(_FIND, {"keys": list(keys)})
    }


# In the order of the keys, so that concurrent statements cannot deadlock. The commit does not wait
# for the disk: an image that a crash makes unknown again is only compressed once more.
_REMEMBER = driver_statement(
    """
    INSERT INTO known_images (key, request_id, sha256, etag, last_modified, file, result, used_at)
    SELECT decode(given.key, 'hex'), request_id, decode(sha256, 'hex'), etag, last_modified, file,
           result, now()
    FROM jsonb_to_recordset(:images) AS given(
             key text, request_id uuid, sha256 text, etag text, last_modified text, file text,
             result jsonb),
         (SELECT set_config('synchronous_commit', 'off', true)) AS commits
    ORDER BY given.key
    ON CONFLICT (key) DO UPDATE
    SET request_id = excluded.request_id, sha256 = excluded.sha256, etag = excluded.etag,
        last_modified = excluded.last_modified, file = excluded.file, result = excluded.result,
        used_at = excluded.used_at
    """
)


def remember_images(connection: Connection, images: Sequence[KnownImage]) -> None:
    """Store the results of images that succeeded, replacing earlier ones. Run it outside of a
    transaction: the commit does not wait for the disk.
    """
    by_key = list({image.key: image for image in images}.values())
    if not by_key:
        return
    # One JSON value: psycopg takes five times as long for seven arrays.
    given = [
        {
            "key": image.key.hex(),
            "request_id": str(image.request_id),
            "sha256": image.source.sha256.hex(),
            "etag": _bounded(image.source.etag),
            "last_modified": _bounded(image.source.last_modified),
            "file": image.result.file,
            "result": image.result.to_json(),
        }
        for image in by_key
    ]
    connection.exec_driver_sql(_REMEMBER, {"images": Jsonb(given)})


def _bounded(validator: str | None) -> str | None:
    """The validator if it is short, printable ASCII, else None: it is sent back unchanged."""
    if validator is None or len(validator) > MAX_VALIDATOR_CHARACTERS:
        return None
    return validator if validator.isascii() and validator.isprintable() else None


def forget_image(connection: Connection, key: bytes) -> None:
    """Delete the row of an image whose files are missing."""
    connection.execute(text("DELETE FROM known_images WHERE key = :key"), {"key": key})


def forget_images_of(connection: Connection, request_id: UUID) -> None:
    """Delete the rows of a request whose files are gone."""
    connection.execute(
        text("DELETE FROM known_images WHERE request_id = :request_id"), {"request_id": request_id}
    )


_FORGET_OLD = text(
    """
    DELETE FROM known_images
    WHERE used_at < now() - make_interval(days => :days)
       OR used_at <= (SELECT used_at FROM known_images ORDER BY used_at DESC OFFSET :rows LIMIT 1)
    """
)


def forget_old_images(
    connection: Connection, *, days: int = KEPT_DAYS, rows: int = MAX_ROWS
) -> int:
    """Delete rows beyond the limits and return their number. Reads the whole table; run it once a
    day.
    """
    return connection.execute(_FORGET_OLD, {"days": days, "rows": rows}).rowcount

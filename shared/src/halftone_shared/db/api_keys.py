"""Queries on API keys. A key is shown once, when it is made; the table holds its SHA-256."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update

from halftone_shared.db.tables import api_keys

KEY_PREFIX = "ht_"


def create_key(connection: Connection, name: str) -> tuple[UUID, str]:
    """Make a key: its ID and the key itself, which cannot be had again."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    key_id = connection.execute(
        insert(api_keys).values(name=name, secret_sha256=hash_key(key)).returning(api_keys.c.id)
    ).scalar_one()
    return key_id, key


def hash_key(key: str) -> bytes:
    """A key is 256 random bits: no slow hash is needed, and looking the hash up tells nothing of
    the key by its timing.
    """
    return sha256(key.encode()).digest()


def find_key(connection: Connection, key: str) -> UUID | None:
    """The ID of a key that was not revoked."""
    return connection.execute(
        select(api_keys.c.id).where(
            api_keys.c.secret_sha256 == hash_key(key), api_keys.c.revoked_at.is_(None)
        )
    ).scalar()


@dataclass(frozen=True)
class KeyRow:
    """A key without its secret."""

    id: UUID
    name: str
    created_at: datetime
    revoked_at: datetime | None


def list_keys(connection: Connection) -> list[KeyRow]:
    """All keys, the oldest first, revoked ones included."""
    columns = (api_keys.c.id, api_keys.c.name, api_keys.c.created_at, api_keys.c.revoked_at)
    rows = connection.execute(select(*columns).order_by(api_keys.c.created_at))
    return [KeyRow(**row) for row in rows.mappings()]


def revoke_key(connection: Connection, key_id: UUID) -> bool:
    """Make a key useless from now on; False when there is no such key, or it was revoked before."""
    revoked = connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return revoked.rowcount == 1

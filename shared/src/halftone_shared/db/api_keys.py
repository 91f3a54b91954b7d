"""Queries on owners and their API keys.

An owner has any number of keys and sees the requests made with any of them, so that a key can be
replaced without losing anything. A key is shown once, when it is made; the table holds its SHA-256.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from halftone_shared.db.tables import api_keys, owners
from halftone_shared.errors import KeyNameAmbiguous, KeyNameTaken

KEY_PREFIX = "ht_"


@dataclass(frozen=True)
class NewKey:
    """A new key. `secret` is what callers send; it cannot be read again."""

    id: UUID
    owner: str
    name: str
    secret: str


def create_key(
    connection: Connection, owner: str, *, name: str | None = None, is_admin: bool = False
) -> NewKey:
    """Create a key for an owner. The owner is created with their first key.

    Without `name`, the key gets the owner's name, followed by a number if that is taken. Raises
    KeyNameTaken if the owner has a valid key with this name. Runs in the caller's transaction.
    """
    connection.execute(upsert(owners).values(name=owner).on_conflict_do_nothing())
    # FOR UPDATE: concurrent calls take turns, so their keys get different names.
    owner_id = connection.execute(
        select(owners.c.id).where(owners.c.name == owner).with_for_update()
    ).scalar_one()
    valid = (api_keys.c.owner_id == owner_id, api_keys.c.revoked_at.is_(None))
    taken = set(connection.execute(select(api_keys.c.name).where(*valid)).scalars())
    if name in taken:
        raise KeyNameTaken(
            f"{owner!r} has a key named {name!r}. Choose another name, or revoke that key first."
        )
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    key_name = name or _free_name(owner, taken)
    key_id = connection.execute(
        insert(api_keys)
        .values(owner_id=owner_id, name=key_name, is_admin=is_admin, secret_sha256=hash_key(secret))
        .returning(api_keys.c.id)
    ).scalar_one()
    return NewKey(key_id, owner, key_name, secret)


def _free_name(owner: str, taken: set[str]) -> str:
    names = (owner, *(f"{owner}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def hash_key(secret: str) -> bytes:
    """A key is 256 random bits, so no slow hash is needed, and the time of a look-up by its hash
    reveals nothing about the key.
    """
    return sha256(secret.encode()).digest()


@dataclass(frozen=True)
class KnownKey:
    """A valid key, found by its secret. `is_use_noted`: its last use is less than a minute old."""

    id: UUID
    owner_id: UUID
    is_admin: bool
    is_use_noted: bool


_FIND = text(
    """
    SELECT id, owner_id, is_admin,
           coalesce(last_used_at > now() - interval '1 minute', false) AS is_use_noted
    FROM api_keys WHERE secret_sha256 = :secret_sha256 AND revoked_at IS NULL
    """
)


def find_key(connection: Connection, secret: str) -> KnownKey | None:
    """The key with this secret; None if it does not exist or was revoked."""
    row = connection.execute(_FIND, {"secret_sha256": hash_key(secret)}).mappings().one_or_none()
    return None if row is None else KnownKey(**row)


_FIND_BY_ID = text(
    """
    SELECT id, owner_id, is_admin,
           coalesce(last_used_at > now() - interval '1 minute', false) AS is_use_noted
    FROM api_keys WHERE id = :key_id AND revoked_at IS NULL
    """
)


def find_key_by_id(connection: Connection, key_id: UUID) -> KnownKey | None:
    """The key that a session was started with; None if it has been revoked."""
    row = connection.execute(_FIND_BY_ID, {"key_id": key_id}).mappings().one_or_none()
    return None if row is None else KnownKey(**row)


_VALID = text(
    "SELECT id FROM api_keys WHERE id = ANY(CAST(:key_ids AS uuid[])) AND revoked_at IS NULL"
)


def valid_keys(connection: Connection, key_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of these keys that have not been revoked."""
    return frozenset(connection.execute(_VALID, {"key_ids": list(key_ids)}).scalars())


_NOTE_USE = text(
    """
    UPDATE api_keys SET last_used_at = now() WHERE id IN (
        SELECT id FROM api_keys
        WHERE id = :key_id AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')
        FOR NO KEY UPDATE SKIP LOCKED)
    """
)


def note_key_use(connection: Connection, key_id: UUID) -> bool:
    """Record a use of a key, at most once a minute even with concurrent calls. True if this call
    recorded it.
    """
    return connection.execute(_NOTE_USE, {"key_id": key_id}).rowcount == 1


@dataclass(frozen=True)
class KeyRow:
    """A key without its secret."""

    id: UUID
    owner: str
    name: str
    is_admin: bool
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def list_keys(connection: Connection) -> list[KeyRow]:
    """All keys, the oldest first, revoked ones included."""
    columns = (
        api_keys.c.id,
        owners.c.name.label("owner"),
        api_keys.c.name,
        api_keys.c.is_admin,
        api_keys.c.created_at,
        api_keys.c.last_used_at,
        api_keys.c.revoked_at,
    )
    query = select(*columns).join(owners, owners.c.id == api_keys.c.owner_id)
    rows = connection.execute(query.order_by(api_keys.c.created_at, api_keys.c.id))
    return [KeyRow(**row) for row in rows.mappings()]


def revoke_key(connection: Connection, name_or_id: str | UUID) -> UUID | None:
    """Revoke a key. Returns its ID, or None if no valid key has this name or ID.

    Raises KeyNameAmbiguous if keys of several owners have the name.
    """
    same = [api_keys.c.name == str(name_or_id)]
    if (key_id := _as_id(name_or_id)) is not None:
        same.append(api_keys.c.id == key_id)
    valid = api_keys.c.revoked_at.is_(None)
    found = connection.execute(select(api_keys.c.id).where(or_(*same), valid)).scalars().all()
    if len(found) > 1:
        ids = ", ".join(str(one) for one in found)
        raise KeyNameAmbiguous(
            f"{len(found)} keys are named {name_or_id!r}. Revoke one by its ID: {ids}."
        )
    return connection.execute(
        update(api_keys)
        .where(api_keys.c.id.in_(found), valid)
        .values(revoked_at=func.now())
        .returning(api_keys.c.id)
    ).scalar()


def _as_id(name_or_id: str | UUID) -> UUID | None:
    try:
        return name_or_id if isinstance(name_or_id, UUID) else UUID(name_or_id)
    except ValueError:
        return None

"""Queries on idempotency keys: uploads with the same key within 24 hours make one request."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from halftone_shared.db.tables import idempotency_keys
from halftone_shared.errors import KeyUsedOtherwise
from halftone_shared.model.stored_json import StoredJson

KEPT = text("interval '24 hours'")


def claim_key(
    connection: Connection, owner_id: UUID | None, key: str, fingerprint: bytes
) -> StoredJson | None:
    """Claim a key in this transaction. Returns None if the key is new, and the stored answer if the
    same upload came before.

    Waits for another transaction that is using the same key. Raises KeyUsedOtherwise.
    """
    same_key = (
        idempotency_keys.c.owner_id.is_not_distinct_from(owner_id),
        idempotency_keys.c.key == key,
    )
    before = None
    while before is None:  # a conflicting key may be deleted before it is read: try again
        connection.execute(
            delete(idempotency_keys).where(
                *same_key, idempotency_keys.c.created_at < func.now() - KEPT
            )
        )
        taken = connection.execute(
            insert(idempotency_keys)
            .values(owner_id=owner_id, key=key, fingerprint=fingerprint)
            .on_conflict_do_nothing()
            .returning(idempotency_keys.c.id)
        ).one_or_none()
        if taken is not None:
            return None
        before = connection.execute(
            select(idempotency_keys.c.fingerprint, idempotency_keys.c.answer).where(*same_key)
        ).one_or_none()
    if before.fingerprint != fingerprint:
        raise KeyUsedOtherwise
    answer: StoredJson = before.answer
    return answer


def keep_answer(
    connection: Connection, owner_id: UUID | None, key: str, answer: Mapping[str, object]
) -> None:
    """Store the upload's answer, to repeat it if the upload comes again."""
    connection.execute(
        update(idempotency_keys)
        .where(
            idempotency_keys.c.owner_id.is_not_distinct_from(owner_id),
            idempotency_keys.c.key == key,
        )
        .values(answer=answer)
    )


def forget_old_keys(connection: Connection) -> int:
    """Delete keys older than KEPT and return their number."""
    return connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.created_at < func.now() - KEPT)
    ).rowcount

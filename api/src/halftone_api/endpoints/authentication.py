"""Who is calling: the owner of an API key, or anybody where HALFTONE_AUTH=off.

With keys, an owner's requests do not exist for another owner. An admin key sees all.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.api_keys import find_key, note_key_use

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Caller:
    """`owner_id` owns what the caller uploads, and is None where keys are off."""

    owner_id: UUID | None = None
    is_admin: bool = False

    @property
    def sees_only(self) -> UUID | None:
        """The owner whose requests exist for this caller; None: those of all owners."""
        return None if self.is_admin else self.owner_id


def find_caller(request: Request) -> Caller:
    """Who sent a call, by the key in its Authorization header. Raises Problem 401."""
    if services(request).settings.auth == "off":
        return Caller(is_admin=True)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthorized(
            "This call wants the header 'Authorization: Bearer KEY';"
            " `halftone keys create` makes a key."
        )
    return caller_by_key(request, secret.strip())


def find_admin(request: Request) -> Caller:
    """As find_caller, for what only admin keys may do. Raises Problem 401 or 403."""
    caller = find_caller(request)
    if not caller.is_admin:
        raise Problem(ProblemCode.FORBIDDEN, "This needs an admin key.")
    return caller


def caller_by_key(request: Request, secret: str) -> Caller:
    """Who has this key. Raises Problem 401."""
    with services(request).engine.connect() as connection:
        key = find_key(connection, secret)
        if key is None:
            raise _unauthorized("This API key is not known, or it was revoked.")
        if not key.is_use_noted:
            try:
                note_key_use(connection, key.id)
            except SQLAlchemyError as error:
                # A read-only database answers reads all the same.
                log.warning("key use not noted", error=str(error).splitlines()[0])
    return Caller(key.owner_id, key.is_admin)


def _unauthorized(detail: str) -> Problem:
    return Problem(
        ProblemCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="halftone"'}
    )

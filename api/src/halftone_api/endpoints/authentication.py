"""Who is calling: the owner of an API key, the person behind a session that a key opened, or anyone
if HALFTONE_AUTH=off.

With keys, a request is visible only to its owner; anyone else gets 404. An admin key sees all.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from halftone_api.endpoints.session_cookie import Session, has_csrf_token, read_session
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.api_keys import KnownKey, find_key, find_key_by_id, note_key_use

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Caller:
    """`owner_id` owns what the caller uploads; it is None if keys are off."""

    owner_id: UUID | None = None
    is_admin: bool = False
    key_id: UUID | None = None

    @property
    def sees_only(self) -> UUID | None:
        """The owner whose requests this caller may see; None: all owners."""
        return None if self.is_admin else self.owner_id


def find_caller(request: Request) -> Caller:
    """Who sent a call, by the key in its Authorization header or the session in its cookie. Raises
    Problem: 401, and 403 for a session's call without its CSRF token.
    """
    if services(request).settings.auth == "off":
        return Caller(is_admin=True)
    if "authorization" not in request.headers and (session := read_session(request)):
        return _caller_by_session(request, session)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthorized(
            "This call wants the header 'Authorization: Bearer KEY';"
            " `halftone keys create` makes a key."
        )
    return caller_by_key(request, secret.strip())


def find_admin(request: Request) -> Caller:
    """Like find_caller, for actions that only admin keys may take. Raises Problem 401 or 403."""
    caller = find_caller(request)
    if not caller.is_admin:
        raise Problem(ProblemCode.FORBIDDEN, "This needs an admin key.")
    return caller


def caller_by_key(request: Request, secret: str) -> Caller:
    """The owner of this key. Raises Problem 401."""
    with services(request).engine.connect() as connection:
        key = find_key(connection, secret)
        return _caller(connection, key)


def _caller_by_session(request: Request, session: Session) -> Caller:
    if request.method not in ("GET", "HEAD") and not has_csrf_token(request, session):
        raise Problem(
            ProblemCode.CROSS_SITE,
            "The call has a session but not its CSRF token. Reload the page.",
        )
    with services(request).engine.connect() as connection:
        return _caller(connection, find_key_by_id(connection, UUID(session.key_id)))


def _caller(connection: Connection, key: KnownKey | None) -> Caller:
    if key is None:
        raise _unauthorized("This API key is not known, or it was revoked.")
    if not key.is_use_noted:
        try:
            note_key_use(connection, key.id)
        except SQLAlchemyError as error:
            # A read-only database refuses this write; the call is still answered.
            log.warning("key use not noted", error=str(error).splitlines()[0])
    return Caller(key.owner_id, key.is_admin, key.id)


def _unauthorized(detail: str) -> Problem:
    return Problem(
        ProblemCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="halftone"'}
    )

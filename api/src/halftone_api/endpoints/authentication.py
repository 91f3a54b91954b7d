"""Who is calling: an API key, or anybody where HALFTONE_AUTH=off.

With keys, what one key uploads is not there for another.
"""

from uuid import UUID

from starlette.requests import Request

from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.api_keys import find_key


def caller_key_id(request: Request) -> UUID | None:
    """The ID of the caller's key, which owns what it uploads; None where keys are off. Raises
    Problem 401.
    """
    if services(request).settings.auth == "off":
        return None
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _unauthorized(
            "This call wants the header 'Authorization: Bearer KEY'; `halftone keys create` makes a key."
        )
    with services(request).engine.connect() as connection:
        key_id = find_key(connection, key.strip())
    if key_id is None:
        raise _unauthorized("This API key is not known, or it was revoked.")
    return key_id


def _unauthorized(detail: str) -> Problem:
    return Problem(
        ProblemCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="halftone"'}
    )

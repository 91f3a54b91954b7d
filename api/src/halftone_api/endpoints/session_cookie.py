"""The session of a person who signed in with a key: a sealed cookie instead of the key.

The cookie holds the key's ID, an expiry and a CSRF token, encrypted under the service's secret.
Every call looks the key up, so revoking it ends its sessions at once.
"""

import json
import secrets
import time
from dataclasses import asdict, dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.services import services
from halftone_shared.errors import SecretUnreadable

COOKIE = "halftone_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
SESSION_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Session:
    """`expires_at` is in seconds since 1970."""

    key_id: str
    expires_at: float
    csrf_token: str


def read_session(request: Request) -> Session | None:
    """The session of a call; None if it has none, or one that expired or was tampered with."""
    sealed = request.cookies.get(COOKIE)
    if sealed is None:
        return None
    try:
        session = Session(**json.loads(services(request).secret_box.open(sealed)))
    except (SecretUnreadable, ValueError, TypeError):
        return None
    return session if session.expires_at > time.time() else None


def begin_session(request: Request, response: Response, key_id: UUID) -> None:
    """Set the cookie that keeps a session for this key."""
    session = Session(str(key_id), time.time() + SESSION_SECONDS, secrets.token_urlsafe(24))
    settings = services(request).settings
    response.set_cookie(
        COOKIE,
        services(request).secret_box.seal(json.dumps(asdict(session))),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=settings.public_url.startswith("https://"),
    )


def end_session(response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def has_csrf_token(request: Request, session: Session) -> bool:
    """Whether the call carries its session's CSRF token, which no other site can read."""
    given = request.headers.get(CSRF_HEADER, "")
    return secrets.compare_digest(given.encode(), session.csrf_token.encode())

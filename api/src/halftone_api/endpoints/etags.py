"""Conditional calls: whether the caller already has the answer (RFC 9110, 13.1.2)."""

import hashlib

from starlette.requests import Request


def etag_of(content: bytes | memoryview) -> str:
    """A strong ETag of an answer's body."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def etag_matches(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this ETag. Its weak form matches too."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in (
        tag.strip().removeprefix("W/") for tag in given.split(",")
    )

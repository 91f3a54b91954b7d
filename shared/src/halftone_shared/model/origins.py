"""An owner's settings for a host of images: credentials, and limits on requests and connections."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

MAX_HEADERS = 20
MAX_VALUE_CHARACTERS = 4096
MAX_RATE, MAX_CONNECTIONS = 1000, 1000
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
_VALUE = re.compile(r"[ -~]*")
_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?)*\.?"
    r"|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)
# Headers that frame or route a request, and headers that the fetcher sets itself.
_RESERVED = frozenset(
    [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "range",
        "accept-encoding",
        "if-none-match",
        "if-modified-since",
        "proxy-authorization",
        "cookie",
    ]
)


class BadOrigin(ValueError):
    """An invalid setting of a host. `member` is its name; `expected` describes a valid value."""

    def __init__(self, member: str, expected: str) -> None:
        super().__init__(f"{member}: expected {expected}")
        self.member = member
        self.expected = expected


@dataclass(frozen=True)
class Credentials:
    """Credentials for the host. Secret, so the repr does not show them."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def to_json(self) -> str:
        return json.dumps([dict(self.headers), self.username, self.password])

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(*json.loads(text))


@dataclass(frozen=True)
class OriginSettings:
    """Credentials, and limits on requests per second and concurrent connections over all workers;
    None: no limit of its own.
    """

    credentials: Credentials
    requests_per_second: float | None = None
    connections: int | None = None


def parse_host(text: str) -> str:
    """A host as in URLs, with a port if the setting is for that port only. Raises BadOrigin."""
    try:
        host = text.strip().lower()
        if not host.isascii():
            name, colon, port = host.partition(":")
            host = name.encode("idna").decode() + colon + port
    except UnicodeError:
        host = ""
    if not _HOST.fullmatch(host) or len(host) > 260:
        raise BadOrigin("host", "a host name or address, with or without :port")
    return host


def parse_origin(given: object) -> OriginSettings:
    """Parse the body of a PUT. Raises BadOrigin."""
    if not isinstance(given, dict):
        raise BadOrigin("body", "a JSON object")
    known = ("headers", "username", "password", "requests_per_second", "connections")
    for name in given:
        if name not in known:
            raise BadOrigin(str(name)[:100], f"one of {', '.join(known)}")
    headers = _headers(given.get("headers"))
    username = _text(given, "username")
    password = _text(given, "password")
    if username is not None and ":" in username:
        raise BadOrigin("username", "a text without a colon")
    if password is not None and username is None:
        raise BadOrigin("username", "a text, because there is a password")
    if username is not None and any(name.lower() == "authorization" for name in headers):
        raise BadOrigin("headers", "no Authorization, because there is a username")
    return OriginSettings(
        Credentials(headers, username, password),
        _number(given, "requests_per_second", MAX_RATE),
        _whole(given, "connections", MAX_CONNECTIONS),
    )


def _headers(given: Any) -> dict[str, str]:
    expected = f"an object of at most {MAX_HEADERS} headers"
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > MAX_HEADERS:
        raise BadOrigin("headers", expected)
    for name, value in given.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _RESERVED:
            raise BadOrigin("headers", f"names that may be set; {name[:100]!r} may not")
        if not isinstance(value, str) or not _is_value(value):
            raise BadOrigin("headers", f"visible ASCII characters as the value of {name!r}")
    return dict(given)


def _is_value(text: str) -> bool:
    return len(text) <= MAX_VALUE_CHARACTERS and _VALUE.fullmatch(text) is not None


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_VALUE_CHARACTERS or not value.isprintable():
        raise BadOrigin(name, "a printable text")
    return value


def _number(given: dict[str, Any], name: str, most: int) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise BadOrigin(name, f"a number above 0, up to {most}")
    return float(value)


def _whole(given: dict[str, Any], name: str, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadOrigin(name, f"a whole number from 1 to {most}")
    return value

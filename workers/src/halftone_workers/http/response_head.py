"""The head of an HTTP/1.x answer: status line and headers. Pure.

It is parsed as leniently as in browsers and curl: malformed header lines are ignored, and line ends
may lack their CR. That is safe for a client: a malformed head affects only its own connection,
which is not reused (`is_exact`). The headers that determine where the body ends are parsed
strictly.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from halftone_workers.errors import BadHttp

# A larger head is refused.
MAX_HEAD_BYTES = 100 * 1024
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9]{2})(?:[ \t].*)?", re.DOTALL)
_EXACT_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: .*)?", re.DOTALL)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True)
class ResponseHead:
    """A parsed head. `body_bytes` is None if the head does not declare the body's length: the body
    is then chunked, or ends with the connection.
    """

    status_code: int
    headers: "Headers"
    body_bytes: int | None
    is_chunked: bool
    keeps_alive: bool

    @property
    def is_informational(self) -> bool:
        return self.status_code < 200


class Headers:
    """An answer's headers, by name in any case."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The header's value. The values of repeated headers are joined by commas."""
        values = self._values.get(name.lower().encode("latin-1"))
        return None if values is None else _text(b", ".join(values))

    def get_list(self, name: str) -> list[str]:
        """The value of each header of this name."""
        return [_text(value) for value in self._values.get(name.lower().encode("latin-1"), ())]

    def members(self, name: bytes) -> list[bytes]:
        """The list members of all headers of this name, in lower case, without empty ones. `name`
        is in lower case.
        """
        values = self._values.get(name)
        if values is None:
            return []
        members = (member.strip(b" \t").lower() for value in values for member in value.split(b","))
        return [member for member in members if member]


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def head_length(received: bytes | bytearray, start: int = 0) -> int | None:
    """The length of the head in bytes, including its empty line; None if it is incomplete.

    `start`: where to start the search, after the bytes that were searched before. Raises BadHttp.
    """
    end = _HEAD_END.search(received, max(start - 3, 0))
    if end is None and len(received) <= MAX_HEAD_BYTES:
        return None
    if end is None or end.end() > MAX_HEAD_BYTES:
        raise BadHttp(f"The server's answer has a head of more than {MAX_HEAD_BYTES:,} bytes.")
    return end.end()


def parse_head(head: bytes) -> ResponseHead:
    """Parse a complete head. Raises BadHttp."""
    first, *lines = re.split(rb"\r?\n", head.strip(b"\r\n"))
    status = _STATUS_LINE.fullmatch(first)
    if status is None or b"\0" in head:
        raise BadHttp(f"The server's answer is not HTTP. It begins with {_shown(first)}.")
    pairs, is_exact = _headers(lines)
    headers = Headers(pairs)
    is_exact = is_exact and _EXACT_STATUS_LINE.fullmatch(first) is not None
    status_code = int(status[2])
    is_chunked = _is_chunked(headers)
    length = _content_length(headers)
    if status_code in _WITHOUT_BODY or status_code < 200:
        is_chunked, length = False, 0
    if is_chunked and length is not None:
        # RFC 9112, 6.3: Transfer-Encoding overrides Content-Length, and the connection is closed
        # afterwards.
        is_exact, length = False, None
    closes = b"close" in headers.members(b"connection")
    return ResponseHead(
        status_code, headers, length, is_chunked, is_exact and status[1] == b"1" and not closes
    )


def _headers(lines: list[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The headers, and whether every line was a valid header."""
    headers: list[tuple[bytes, bytes]] = []
    is_exact = True
    for line in lines:
        if line[:1] in (b" ", b"\t") and headers:  # RFC 9112, 5.2: continues the line before
            name, value = headers.pop()
            headers.append((name, b" ".join((value, line.strip(b" \t")))))
            continue
        raw_name, colon, value = line.partition(b":")
        name = raw_name.rstrip(b" \t")
        if not colon or not _NAME.fullmatch(name):
            is_exact = False
            continue
        is_exact = is_exact and name == raw_name
        headers.append((name, value.strip(b" \t")))
    return headers, is_exact


def _is_chunked(headers: Headers) -> bool:
    codings = [c for c in headers.members(b"transfer-encoding") if c != b"identity"]
    if codings not in ([], [b"chunked"]):
        raise BadHttp(
            f"The server sends its answer in a transfer encoding that is not read:"
            f" {_shown(b', '.join(codings))}."
        )
    return bool(codings)


def _content_length(headers: Headers) -> int | None:
    lengths = set(headers.members(b"content-length"))
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or not re.fullmatch(rb"[0-9]{1,18}", length):
        raise BadHttp(f"The server's answer has no readable Content-Length: {_shown(length)}.")
    return int(length)


def _shown(part: bytes) -> str:
    return repr(part[:60].decode("latin-1"))

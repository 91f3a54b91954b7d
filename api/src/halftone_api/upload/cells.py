"""The URLs of an image cell: where each is in the text, and which URL is fetched for it. Pure.

People and shops separate URLs by commas, bars, semicolons, spaces or line breaks, and all of these
except line breaks may also be part of a URL. So a separator counts only if a new URL begins after
it. The text between separators becomes the URL that a browser would request.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from halftone_shared.model.share_links import direct_link

# Invisible characters: zero-width characters, direction marks, soft hyphens, byte order marks. `\s`
# covers the non-breaking spaces.
INVISIBLE = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_SCHEME = r"(?:[a-z][a-z0-9+.-]*+:)?//"
_EDGE = rf"[\s{INVISIBLE}\x00-\x1f,|;]"

_STARTS_WITH_SCHEME = re.compile(_SCHEME, re.ASCII | re.IGNORECASE)
_ANY_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_LEADING = re.compile(f"{_EDGE}*+")
# The same characters for str.rstrip: a regular expression would take quadratic time.
_EDGE_CHARACTERS = "".join(re.findall(_EDGE, "".join(map(chr, range(0x10000)))))
# Fast path for nearly every cell: one URL of plain characters. A file may have a million cells.
_ONE_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9.:-]+(?:/[A-Za-z0-9._~!$&'()*+/:@=%-]*+)?"
    r"(?:\?[A-Za-z0-9._~!$&'()*+/:@=%?-]*+)?",
    re.ASCII,
)
# The percent-encode sets of the URL standard for path, query and fragment.
# https://url.spec.whatwg.org/#percent-encoded-bytes
_NOT_IN_PATH = re.compile(r'[\x00-\x20"<>^`{}\x7f-\U0010ffff]')
_NOT_IN_QUERY = re.compile(r'[\x00-\x20"<>\x7f-\U0010ffff]')
_PARTS = re.compile(
    r"(?P<origin>[^:/?#]*:?//[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_LINE_BREAKS = re.compile(r"[\t\r\n]+")
_PATH = re.compile(r"[^,|;]*\.[A-Za-z0-9]{2,5}", re.ASCII)
_PATH_SEPARATOR = re.compile(r"[,|;\r\n]")
_WEB_ADDRESS = re.compile(r"(?:https?|ftp)://|^\s*//[^\s/.]+\.[^\s/]", re.IGNORECASE)
# Pictures embedded in a cell instead of a URL, as Odoo exports them.
_IMAGE_DATA = re.compile(r"data:image/|[A-Za-z0-9+/\r\n]{200}")


@dataclass(frozen=True)
class CellRules:
    """How the image cells of a file are read, beyond the rules for every file.

    `base_url` is prepended to paths, and `path_separator` separates them if the system defines one.
    With `escaped_commas` (WooCommerce), a comma inside a URL is `\\,`. `prefix` and `suffix` are
    patterns of the text that a system writes around each URL. `empty` are lower-case texts that
    mean "no image".
    """

    base_url: str | None = None
    path_separator: str | None = None
    escaped_commas: bool = False
    prefix: str = ""
    suffix: str = ""
    empty: frozenset[str] = frozenset()


NO_RULES = CellRules()


@dataclass(frozen=True)
class FoundUrl:
    """`cell[start:end]` is the URL as the cell writes it; `url` is the URL to fetch."""

    start: int
    end: int
    url: str


def read_urls(cell: str, rules: CellRules = NO_RULES) -> list[str]:
    """The URLs of an image cell, in order, repetitions included. Text that is no URL is returned as
    is.
    """
    if _ONE_PLAIN_URL.fullmatch(cell) and "&amp;" not in cell:
        return [direct_link(cell)]
    return [found.url for found in find_urls(cell, rules)]


def find_urls(cell: str, rules: CellRules = NO_RULES) -> list[FoundUrl]:
    """The URLs of an image cell, each with its place in the cell."""
    if cell.strip().lower() in rules.empty:
        return []
    pieces = [
        span
        for piece in _pieces(cell, rules)
        for span in _path_pieces(cell, piece, rules)
        if span[0] < span[1]
    ]
    return [FoundUrl(*span, _url(cell[slice(*span)], rules)) for span in pieces]


def replace_urls(cell: str, replacements: Sequence[str | None], rules: CellRules = NO_RULES) -> str:
    """The cell with each URL replaced and its separators kept; None keeps the original URL.

    Raises ValueError if the cell has another number of URLs.
    """
    text, at = [], 0
    for found, replacement in zip(find_urls(cell, rules), replacements, strict=True):
        kept = cell[found.start : found.end] if replacement is None else replacement
        text += [cell[at : found.start], kept]
        at = found.end
    return "".join([*text, cell[at:]])


def has_url(cell: str) -> bool:
    """Whether a web address begins somewhere in the cell."""
    return "//" in cell and bool(_WEB_ADDRESS.search(cell))


def has_scheme(cell: str) -> bool:
    """Whether the cell begins with any scheme, such as s3://."""
    return bool(_ANY_SCHEME.match(cell))


def starts_with_url(cell: str) -> bool:
    """Whether nothing but separators and invisible characters is before the first web address."""
    return bool(_STARTS_WITH_SCHEME.match(cell, _end_of_edge(cell)))


def is_image_data(cell: str) -> bool:
    """Whether the cell holds a picture itself, not its URL."""
    return bool(_IMAGE_DATA.match(cell))


def is_path(cell: str) -> bool:
    """Whether the cell looks like paths or file names, as in a shop's own export."""
    pieces = [piece.strip() for piece in _PATH_SEPARATOR.split(cell.strip()) if piece.strip()]
    return bool(pieces) and all(_PATH.fullmatch(piece) for piece in pieces)


def _pieces(cell: str, rules: CellRules) -> list[tuple[int, int]]:
    """The spans between the separators, without the characters that are stripped at their ends."""
    pieces, start = [], _end_of_edge(cell)
    for found in _separator(rules.escaped_commas, rules.prefix).finditer(cell, start):
        pieces.append((start, found.start()))
        start = found.end()
    pieces.append((start, len(cell)))
    return [_trimmed(cell, *piece, rules) for piece in pieces]


@lru_cache
def _separator(escaped_commas: bool, prefix: str) -> "re.Pattern[str]":
    """A run of separators before a URL. A search starts only at the beginning of a run."""
    escape = r"(?<!\\)" if escaped_commas else ""
    pattern = f"(?<!{_EDGE}){escape}{_EDGE}++(?={prefix}{_SCHEME})"
    return re.compile(pattern, re.IGNORECASE)


def _end_of_edge(cell: str) -> int:
    found = _LEADING.match(cell)
    return 0 if found is None else found.end()


def _trimmed(cell: str, start: int, end: int, rules: CellRules) -> tuple[int, int]:
    text = cell[start:end]
    if rules.prefix and (found := re.match(rules.prefix, text, re.IGNORECASE)):
        start += found.end()
        text = text[found.end() :]
    if rules.suffix and (found := re.search(rules.suffix, text, re.IGNORECASE)):
        text = text[: found.start()]
    return start, start + len(text.rstrip(_EDGE_CHARACTERS))


def _path_pieces(cell: str, span: tuple[int, int], rules: CellRules) -> list[tuple[int, int]]:
    """The paths in a span that has several; otherwise the span itself."""
    start, end = span
    text = cell[start:end]
    if rules.base_url is None or _STARTS_WITH_SCHEME.match(text):
        return [span]
    if rules.path_separator is None and not is_path(text):
        return [span]
    separator = _PATH_SEPARATOR if rules.path_separator is None else None
    pattern = separator or re.compile(f"[{re.escape(rules.path_separator or '')}\r\n]")
    spans, at = [], start
    for found in pattern.finditer(text):
        spans.append((at, start + found.start()))
        at = start + found.end()
    return [_stripped(cell, *piece) for piece in [*spans, (at, end)]]


def _stripped(cell: str, start: int, end: int) -> tuple[int, int]:
    text = cell[start:end]
    return start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))


def _url(text: str, rules: CellRules) -> str:
    """The URL that a browser would request."""
    if rules.escaped_commas:
        text = text.replace("\\,", ",")
    text = text.replace("&amp;", "&")
    if not _STARTS_WITH_SCHEME.match(text):
        if rules.base_url is None:
            return text
        path = text.replace("\\", "/").lstrip("/").replace("?", "%3F").replace("#", "%23")
        text = f"{rules.base_url.rstrip('/')}/{path}"
    elif text.startswith("//"):
        text = "https:" + text
    return direct_link(_encoded(text))


def _encoded(url: str) -> str:
    """Percent-encode the characters that browsers encode, and remove line breaks."""
    parts = _PARTS.fullmatch(_LINE_BREAKS.sub("", url))
    if parts is None:
        return url
    return (
        parts["origin"]
        + _NOT_IN_PATH.sub(_percent, parts["path"])
        + _NOT_IN_QUERY.sub(_percent, parts["query"] or "")
        + _NOT_IN_PATH.sub(_percent, parts["fragment"] or "")
    )


def _percent(found: "re.Match[str]") -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "replace"))

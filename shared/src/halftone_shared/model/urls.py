"""Which texts are http(s) URLs that may be fetched. Pure: makes no DNS look-up; addresses.py
decides which addresses are allowed.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from halftone_shared.model.share_links import share_problem

MAX_URL_CHARACTERS = 4096

# Matches the URLs of nearly every catalogue; other URLs take the slower check below. Files may have
# a million rows.
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?(?:[/?#][!#-\[\]-~]*)?",
    re.ASCII,
)
# urlsplit drops text beside the brackets of an IPv6 address.
_BRACKETED = re.compile(r"(?:[^@]*@)?\[[^\[\]]*\](?::[0-9]*)?")
_HOST = re.compile(r"[^\s\x00-\x20\"#%/:<>?@\[\\\]^`{|}\x7f]+")


def url_problem(url: str) -> str | None:
    """Why `url` is not an http(s) URL, as a sentence for its author; None if it is one."""
    if len(url) <= MAX_URL_CHARACTERS and _PLAIN_URL.fullmatch(url):
        return None
    return _problem_in_full(url)


def image_url_problem(url: str) -> str | None:
    """Why no image can be fetched from `url`, as a sentence; None if it may be fetched."""
    return url_problem(url) or share_problem(url)


def _problem_in_full(url: str) -> str | None:
    if not url:
        return "It is empty."
    if len(url) > MAX_URL_CHARACTERS:
        return f"It is longer than {MAX_URL_CHARACTERS} characters."
    for character in url:
        if character.isspace() or not character.isprintable():
            return f"It contains {character!r}; write it percent-encoded."
        if character == "\\":
            return "It contains a backslash."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"It cannot be read: {error}."
    if parts.scheme.lower() not in ("http", "https"):
        return "It does not start with http:// or https://."
    host = parts.hostname
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        return "Its host is neither a name nor an address in brackets."
    if not host:
        return "It names no host."
    if port == 0:
        return "Its port is 0."
    return _host_problem(host, bracketed="[" in parts.netloc)


def _host_problem(host: str, *, bracketed: bool) -> str | None:
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return f"Its host {host!r} is no IPv6 address."
        return None
    if not _HOST.fullmatch(host) or host.startswith(".") or ".." in host:
        return f"Its host {host!r} is no host name."
    return None


def literal_address(url: str) -> tuple[str, int] | None:
    """The numeric address and port in a valid URL; None if its host is a name."""
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return None
    return str(address), url_port(url)


def without_password(url: str) -> str:
    """The URL with its password hidden, for display: `https://user:…@host/`."""
    return re.sub(r"(?<=://)([^/?#@]*?):[^/?#]*@", r"\1:…@", url, count=1)


def url_port(url: str) -> int:
    """The port of a valid http(s) URL."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme.lower() == "https" else 80)

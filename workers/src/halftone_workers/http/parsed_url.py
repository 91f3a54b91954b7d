"""The parts of a URL that a request needs."""

import re
from dataclasses import dataclass
from functools import lru_cache

import httpx

# A URL whose parts are already in the form that httpx gives them: most URLs of a catalogue. Their
# parts are read off, which takes 3 µs instead of 17.
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ESCAPE = "%[0-9A-F]{2}"
_PLAIN = re.compile(
    rf"(https?)://([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*|{_OCTET}(?:\.{_OCTET}){{3}})"
    r"(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
    rf"((?!.*/\.)/(?:[A-Za-z0-9._~!$&()*+,;=:@/-]|{_ESCAPE})*"
    rf"(?:\?(?:[A-Za-z0-9._~!$&()*+,;=:@/-]|{_ESCAPE})+)?)",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class ParsedUrl:
    """A URL. `host` is in its ASCII form, without brackets and in lower case; `netloc` is
    the Host header, without a default port; `target` is the path with the query, percent-encoded.
    """

    text: str
    scheme: str
    host: str
    port: int
    netloc: str
    target: bytes
    username: str = ""
    password: str = ""

    def join(self, location: str) -> "ParsedUrl":
        """The URL that a redirect leads to. Raises httpx.InvalidURL."""
        return parsed_url(str(httpx.URL(self.text).join(location)))


@lru_cache(maxsize=2048)
def parsed_url(url: str) -> ParsedUrl:
    """The parsed URL, cached: a fetch needs its parts at about six places. Raises
    httpx.InvalidURL.
    """
    plain = _PLAIN.fullmatch(url)
    if plain is None:
        return _from_httpx(url)
    scheme, host, port, target = plain.groups()
    number = int(port) if port else _DEFAULT_PORTS[scheme]
    netloc = host if number == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return ParsedUrl(url, scheme, host, number, netloc, target.encode("ascii"))


def _from_httpx(url: str) -> ParsedUrl:
    parsed = httpx.URL(url)
    return ParsedUrl(
        url,
        parsed.scheme,
        parsed.raw_host.decode("ascii"),
        parsed.port or _DEFAULT_PORTS.get(parsed.scheme, 80),
        parsed.netloc.decode("ascii"),
        parsed.raw_path,
        parsed.username,
        parsed.password,
    )

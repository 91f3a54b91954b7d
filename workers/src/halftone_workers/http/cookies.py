"""Cookies of one fetch: some shops redirect to the same URL until the client returns a cookie.

A cookie is sent only to the host that set it, and only within the same fetch.
"""

import re

from halftone_workers.http.parsed_url import parsed_url
from halftone_workers.http.response_head import Headers

MAX_COOKIES = 50
MAX_COOKIE_BYTES = 4096
_PAIR = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+=[ -:<-~]*")
_DELETES = re.compile(r"max-age\s*=\s*(?:0|-[0-9]+)\s*", re.IGNORECASE)


class Cookies:
    """The cookies set by the hosts of one image's redirects. Path and Domain are ignored: a cookie
    goes to exactly the host that set it.
    """

    def __init__(self) -> None:
        self._by_host: dict[str, dict[str, tuple[str, bool]]] = {}

    def take(self, url: str, headers: Headers) -> None:
        """Store the cookies of the answer from `url`, except those that cannot be sent back."""
        cookies = self._by_host.setdefault(parsed_url(url).host, {})
        for header in headers.get_list("set-cookie"):
            pair, *attributes = (part.strip() for part in header.split(";"))
            if not _PAIR.fullmatch(pair) or len(pair) > MAX_COOKIE_BYTES:
                continue
            name, _, value = pair.partition("=")
            cookies.pop(name, None)
            if any(_DELETES.fullmatch(attribute) for attribute in attributes):
                continue
            if len(cookies) < MAX_COOKIES:
                is_secure = any(attribute.lower() == "secure" for attribute in attributes)
                cookies[name] = value, is_secure

    def header(self, url: str) -> dict[str, str]:
        """The Cookie header of a request to `url`; empty if its host has set no cookie."""
        if not self._by_host:
            return {}
        asked = parsed_url(url)
        sent = [
            f"{name}={value}"
            for name, (value, is_secure) in self._by_host.get(asked.host, {}).items()
            if asked.scheme == "https" or not is_secure
        ]
        return {"Cookie": "; ".join(sent)} if sent else {}

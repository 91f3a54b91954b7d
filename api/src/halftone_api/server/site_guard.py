"""Which sites may call this service through a browser.

A browser inside a private network, or on the service's own machine, sends the calls of any web
page. If calls need no key (HALFTONE_AUTH=off), such a page could upload, cancel and read:

- A page of another site posts a form. Such a call has an Origin or Sec-Fetch-Site header that
  names the other site, and is refused.
- A page makes its own name resolve to this machine (DNS rebinding). Then the Host header has that
  name, so only known hosts are served.

With keys, the first rule also applies to calls without an Authorization header: a browser adds the
page's session cookie by itself.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from halftone_api.errors import Problem, ProblemCode, problem_response

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Probes and scrapers use any name or address; these answers disclose nothing.
_FOR_ANY_HOST = frozenset({"/healthz", "/readyz", "/metrics"})


class SiteGuard:
    """Refuses calls that other sites make a browser send. Without `known_hosts`, any host is
    served.
    """

    def __init__(self, app: ASGIApp, known_hosts: Iterable[str] | None) -> None:
        self._app = app
        self._known_hosts = None if known_hosts is None else frozenset(known_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._judge(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(Request(scope), problem)(scope, receive, send)

    def _judge(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) > 1:
            return Problem(ProblemCode.BAD_FRAMING, "The call has more than one Host header.")
        host = hosts[0] if hosts else ""
        if scope["path"] not in _FOR_ANY_HOST and not self._is_known(host):
            return Problem(
                ProblemCode.UNKNOWN_HOST,
                f"This service does not answer as {host[:100]!r}. Name it in HALFTONE_PUBLIC_URL"
                " or HALFTONE_ALLOWED_HOSTS.",
            )
        if scope["method"] in _SAFE_METHODS or "authorization" in headers:
            return None
        if _is_cross_site(headers, host):
            return Problem(
                ProblemCode.CROSS_SITE,
                "The call comes from a page of another site. Only this service's own pages may"
                " change something through a browser.",
            )
        return None

    def _is_known(self, host: str) -> bool:
        if self._known_hosts is None or not host:
            return True
        name = host_name(host)
        # A page can make a name resolve to this machine only if it has a dot and is not an address.
        return name in self._known_hosts or "." not in name or _is_address(name)


def host_name(host: str) -> str:
    """A Host header without its port, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_cross_site(headers: Headers, host: str) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()

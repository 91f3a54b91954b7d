"""Rendering templates, with what every page needs."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse

from halftone_api.endpoints.session_cookie import read_session
from halftone_api.openapi.version import VERSION
from halftone_api.pages.formats import FILTERS
from halftone_api.pages.static_files import static_path
from halftone_api.services import services

FOLDER = Path(__file__).parent

# Scripts and styles come from files alone; the "before" images may come from any shop.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: http: https:; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@cache
def templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["static"] = static_path
    return environment


def render(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """A template as an answer."""
    return HTMLResponse(
        render_text(request, template, **context),
        status_code=status_code,
        headers={**SECURITY_HEADERS, **(headers or {})},
    )


def render_text(request: Request, template: str, **context: Any) -> str:
    """A template with its context and the variables of every page: `base`, `public_url`, `version`,
    `session`, `signs_in`, `path`.
    """
    settings = services(request).settings
    session = read_session(request) if settings.auth == "keys" else None
    return (
        templates()
        .get_template(template)
        .render(
            base=base_path(settings.public_url),
            public_url=settings.public_url,
            version=VERSION,
            session=session,
            signs_in=settings.auth == "keys",
            path=request.url.path,
            **context,
        )
    )


def base_path(public_url: str) -> str:
    """The path under which the service is reached, without a slash at its end."""
    return urlsplit(public_url).path.rstrip("/")


def accepts_html(request: Request) -> bool:
    """Whether a browser asks for a page; programs and the page's own scripts do not."""
    return "text/html" in request.headers.get("accept", "")

"""The files that pages load: styles, scripts, icons."""

import hashlib
from functools import cache
from pathlib import PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.etags import etag_matches
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.rendering import FOLDER

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Every file by its path: content, media type, ETag. Only these are served."""
    static = FOLDER / "static"
    found = {}
    for path in static.rglob("*"):
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            name = str(PurePosixPath(path.relative_to(static)))
            etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
            found[name] = (content, _MEDIA_TYPES[path.suffix], etag)
    return found


@page("GET", "/static/{name:path}")
async def static_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _files():
        raise Problem(ProblemCode.NOT_FOUND, f"There is no file {name[:200]!r}.")
    content, media_type, etag = _files()[name]
    headers = {"ETag": etag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@page("GET", "/favicon.ico")
async def favicon(request: Request) -> Response:
    content, media_type, etag = _files()["icon.svg"]
    return Response(content, media_type=media_type, headers={"ETag": etag})

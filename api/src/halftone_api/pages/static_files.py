"""The files that pages load: styles, scripts, icons."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.etags import etag_matches
from halftone_api.errors import Problem, ProblemCode

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@dataclass(frozen=True)
class _File:
    """`version` is a hash of the content; pages add it to the URL, so that caches never ask."""

    content: bytes
    packed: bytes
    media_type: str
    version: str


@cache
def _files() -> dict[str, _File]:
    """Every file by its path. Only these are served."""
    paths = (path for path in _FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES)
    return {str(PurePosixPath(path.relative_to(_FOLDER))): _read(path) for path in paths}


def _read(path: Path) -> _File:
    content = path.read_bytes()
    version = hashlib.blake2b(content, digest_size=6).hexdigest()
    return _File(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[path.suffix], version)


def static_path(name: str) -> str:
    """The path and query under which a page loads a file."""
    return f"/static/{name}?v={_files()[name].version}"


@page("GET", "/static/{name:path}")
async def static_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _files():
        raise Problem(ProblemCode.NOT_FOUND, f"There is no file {name[:200]!r}.")
    file = _files()[name]
    is_packed = "gzip" in request.headers.get("accept-encoding", "")
    is_version = request.query_params.get("v") == file.version
    etag = f'"{file.version}{"-gzip" if is_packed else ""}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if is_version else "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    body = file.packed if is_packed else file.content
    return Response(body, media_type=file.media_type, headers=headers)


@page("GET", "/favicon.ico")
async def favicon(request: Request) -> Response:
    icon = _files()["icon.svg"]
    headers = {"ETag": f'"{icon.version}"', "Cache-Control": "public, max-age=86400"}
    return Response(icon.content, media_type=icon.media_type, headers=headers)

"""Serves output images: only those recorded in a finished product, with their own fixed media
type.
"""

import re
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from halftone_api.endpoints.declaration import Answer, Parameter, Tag, endpoint
from halftone_api.endpoints.etags import etag_matches
from halftone_api.endpoints.parameters import TEXT
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import Services, services
from halftone_shared.db.details import image_is_known
from halftone_shared.errors import ImageNotStored, StorageUnavailable
from halftone_shared.model.image_formats import MEDIA_TYPES
from halftone_shared.model.image_names import parse_image_name

log = structlog.get_logger(__name__)

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def _path_text(name: str, description: str) -> Parameter[str]:
    return Parameter(
        name=name,
        where="path",
        description=description,
        schema=TEXT,
        parse=str,
        expected="the name of an image",
        default="",
    )


FILENAME = _path_text("filename", "The file name in an output URL.")
IMAGE_ID = _path_text("id", "The part of an output URL that names the image.")
OWN_NAME = _path_text("name", "The file name that the option `names` gave the image.")
_IMAGE_TYPES = tuple(sorted(set(MEDIA_TYPES.values())))
_ANSWERS = {
    200: Answer("The image.", media_types=_IMAGE_TYPES),
    206: Answer("The part in Range.", media_types=_IMAGE_TYPES),
    304: Answer("The ETag in If-None-Match is the image's."),
}
_PROBLEMS = (
    ProblemCode.NOT_FOUND,
    ProblemCode.RANGE_NOT_SATISFIABLE,
    ProblemCode.STORAGE_UNAVAILABLE,
)


@endpoint(
    "GET",
    "/api/image/{filename}",
    name="image",
    tag=Tag.RESULTS,
    summary="An output image, readable by anyone who knows its name",
    parameters=(FILENAME,),
    answers=_ANSWERS,
    problems=_PROBLEMS,
    keyless=True,
)
async def get_image(request: Request) -> Response:
    """An output image."""
    return await _serve(request, FILENAME.of(request))


@endpoint(
    "GET",
    "/api/image/{id}/{name}",
    name="named_image",
    tag=Tag.RESULTS,
    summary="An output image under the name that the option `names` gave it",
    parameters=(IMAGE_ID, OWN_NAME),
    answers=_ANSWERS,
    problems=_PROBLEMS,
    keyless=True,
)
async def get_named_image(request: Request) -> Response:
    """An output image under a name of the client's."""
    return await _serve(request, f"{IMAGE_ID.of(request)}/{OWN_NAME.of(request)}")


async def _serve(request: Request, name: str) -> Response:
    """A name always means the same bytes, so it is the ETag and caches may keep the image for
    ever.
    """
    slot = parse_image_name(name)
    if slot is None:
        raise _not_found(name)
    found = services(request)
    if not await run_in_threadpool(_is_known, found, name):
        raise _not_found(name)
    headers = {
        "ETag": f'"{name.partition("/")[0]}"',
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Accept-Ranges": "bytes",
    }
    if slot.own_name is not None:
        file_name = quote(f"{slot.own_name}.{slot.extension}", safe="")
        headers["Content-Disposition"] = f"inline; filename*=UTF-8''{file_name}"
    if etag_matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        try:
            size = await found.store.size(name)
            return await _answer(request, name, size, headers, slot.media_type)
        except ImageNotStored:
            # In the empty folder of an unmounted volume every image seems to be missing.
            problem = await run_in_threadpool(found.storage_check.problem)
            if problem is None:
                raise _not_found(name) from None
            raise StorageUnavailable(problem) from None
    except StorageUnavailable as error:
        # Anyone who knows a name may ask for it, without a key; the store's place and error message
        # are for the operator only.
        log.error("image not read", file=name, error=str(error))
        detail = "The storage of the images did not give this one. Try again."
        raise Problem(
            ProblemCode.STORAGE_UNAVAILABLE, detail, headers={"Retry-After": "5"}
        ) from None


def _is_known(found: Services, name: str) -> bool:
    with found.engine.connect() as connection:
        return image_is_known(connection, name)


async def _answer(
    request: Request, name: str, size: int, headers: dict[str, str], media_type: str
) -> Response:
    start, end, status = 0, size, 200
    wanted = _range_of(request, headers["ETag"], size)
    if wanted is not None:
        start, end = wanted
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    content = await services(request).store.read(name, start, end, size=size)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)


def _range_of(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The one requested range, as start and end; None for the whole image.

    Several ranges get the whole image, as RFC 9110, 14.2, allows: a list of ranges can ask for a
    thousand times the file. Raises Problem 416.
    """
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        raise Problem(
            ProblemCode.RANGE_NOT_SATISFIABLE,
            f"The image has {size:,} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


def _not_found(name: str) -> Problem:
    return Problem(ProblemCode.NOT_FOUND, f"There is no image {name[:200]!r}.")

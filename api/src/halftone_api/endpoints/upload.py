"""Uploading a file of products, and checking one without storing it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from urllib.parse import urlsplit
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import Answer, Body, Parameter, Tag, endpoint
from halftone_api.endpoints.rate_limiting import limit_rate
from halftone_api.errors import ProblemCode
from halftone_api.server.middleware import call_id
from halftone_api.services import services
from halftone_api.upload.check import Check, Understood
from halftone_api.upload.fields import form_schema
from halftone_api.upload.form import Upload, read_upload
from halftone_api.upload.products import UploadLimits
from halftone_api.upload.store import Accepted, Intake

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)


def _parse_idempotency_key(text: str) -> str:
    if not _IDEMPOTENCY_KEY.fullmatch(text):
        raise ValueError(text)
    return text


IDEMPOTENCY_KEY: Parameter[str | None] = Parameter(
    name="Idempotency-Key",
    where="header",
    description="For 24 hours, the same key and the same upload give the same request.",
    schema={"type": "string", "pattern": "^[!-~]{1,255}$"},
    parse=_parse_idempotency_key,
    expected="1 to 255 visible ASCII characters",
    default=None,
)


_FORM = Body(form_schema, media_type="multipart/form-data", component="Upload")
_FORM_PROBLEMS = (
    ProblemCode.MISSING_FILE,
    ProblemCode.MALFORMED_FORM,
    ProblemCode.NOT_MULTIPART,
    ProblemCode.INVALID_OPTION,
    ProblemCode.INVALID_WEBHOOK_URL,
    ProblemCode.INVALID_PARAMETER,
    ProblemCode.BAD_FRAMING,
    ProblemCode.TOO_LARGE,
    ProblemCode.UPLOAD_TIMEOUT,
    ProblemCode.NOT_CSV,
    ProblemCode.EMPTY_CSV,
    ProblemCode.BAD_ENCODING,
    ProblemCode.MALFORMED_CSV,
    ProblemCode.MISSING_COLUMNS,
    ProblemCode.DUPLICATE_COLUMNS,
    ProblemCode.NO_ROWS,
    ProblemCode.TOO_MANY_ROWS,
    ProblemCode.INVALID_ROWS,
    ProblemCode.RATE_LIMITED,
    ProblemCode.STORAGE_UNAVAILABLE,
)


@endpoint(
    "POST",
    "/api/upload",
    name="upload",
    aliases=("/upload",),
    tag=Tag.UPLOAD,
    summary="Upload a file of products; answers with a request ID",
    parameters=(IDEMPOTENCY_KEY,),
    body=_FORM,
    answers={202: Answer("Stored; the images are being processed.", Accepted)},
    problems=(*_FORM_PROBLEMS, ProblemCode.IDEMPOTENCY_KEY_REUSED),
)
async def upload(request: Request) -> Response:
    """Answers once the request is committed."""
    owner_id = (await run_in_threadpool(find_caller, request)).owner_id
    idempotency_key = IDEMPOTENCY_KEY.of(request)
    await run_in_threadpool(limit_rate, request, owner_id)
    async with _received(request, owner_id) as form:
        answer = await run_in_threadpool(
            _intake(request).store,
            form,
            owner_id=owner_id,
            idempotency_key=idempotency_key,
            trace_id=call_id(),
        )
    headers = {"Location": urlsplit(answer["links"]["status"]).path, "Retry-After": "1"}
    return JSONResponse(answer, status_code=202, headers=headers)


@endpoint(
    "POST",
    "/api/check",
    name="check",
    tag=Tag.UPLOAD,
    summary="Check a file: what an upload of this form would do. Nothing is stored",
    body=_FORM,
    answers={200: Answer("What the service reads in the file.", Check)},
    problems=_FORM_PROBLEMS,
)
async def check(request: Request) -> Response:
    return JSONResponse((await understood(request)).check)


async def understood(request: Request) -> Understood:
    """How the call's file would be read. Raises Problem."""
    owner_id = (await run_in_threadpool(find_caller, request)).owner_id
    await run_in_threadpool(limit_rate, request, owner_id)
    async with _received(request, owner_id) as form:
        return await run_in_threadpool(_intake(request).check, form)


@asynccontextmanager
async def _received(request: Request, owner_id: UUID | None) -> AsyncIterator[Upload]:
    """The upload, once it has arrived and has its turn to be read. Raises Problem."""
    found = services(request)
    with found.upload_space.room(owner_id) as room:
        form = await read_upload(
            request,
            room,
            max_upload_bytes=found.settings.max_upload_bytes,
            fetch_rule=found.settings.fetch_allow,
        )
        with closing(form.file):
            async with found.intake_turns.turn(owner_id):
                yield form


def _intake(request: Request) -> Intake:
    found = services(request)
    settings = found.settings
    limits = UploadLimits(settings.max_rows, settings.max_urls_per_product)
    return Intake(found.intake_engine, limits, settings.public_url, found.secret_box)

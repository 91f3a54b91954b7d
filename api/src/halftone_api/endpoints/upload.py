"""The route that takes a CSV."""

import re
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.rate_limiting import limit_rate
from halftone_api.errors import Problem, ProblemCode
from halftone_api.server.middleware import call_id
from halftone_api.services import services
from halftone_api.upload.form import read_upload
from halftone_api.upload.products import CsvLimits
from halftone_api.upload.store import Intake

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)


async def upload(request: Request) -> Response:
    """Take a CSV and answer 202 once its request is committed."""
    found = services(request)
    settings = found.settings
    owner_id = (await run_in_threadpool(find_caller, request)).owner_id
    idempotency_key = _idempotency_key(request)
    await run_in_threadpool(limit_rate, request, owner_id)
    form = await read_upload(
        request, max_upload_bytes=settings.max_upload_bytes, fetch_rule=settings.fetch_allow
    )
    limits = CsvLimits(settings.max_rows, settings.max_urls_per_product)
    intake = Intake(found.engine, limits, settings.public_url, found.secret_box)
    try:
        answer = await run_in_threadpool(
            intake.store,
            form,
            owner_id=owner_id,
            idempotency_key=idempotency_key,
            trace_id=call_id(),
        )
    finally:
        form.file.close()
    headers = {"Location": urlsplit(answer["links"]["status"]).path, "Retry-After": "1"}
    return JSONResponse(answer, status_code=202, headers=headers)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        detail = "An Idempotency-Key has 1 to 255 visible ASCII characters."
        raise Problem(ProblemCode.INVALID_PARAMETER, detail, parameter="Idempotency-Key")
    return key

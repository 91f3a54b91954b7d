"""The route that the external image processing service calls when it has worked on an image."""

import json
from typing import Any, Literal, NotRequired
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from halftone_api.endpoints.declaration import Answer, Body, Parameter, Tag, endpoint
from halftone_api.errors import Problem, ProblemCode
from halftone_api.openapi.json_schema import Schemas
from halftone_api.services import services
from halftone_shared.db.processor_jobs import Handled, JobResult, JobStatus, Recorded
from halftone_shared.model.json_types import Url, Uuid
from halftone_shared.model.results import ProductKey
from halftone_shared.model.signing import BadSignature, verify_signature
from halftone_shared.model.urls import url_problem
from halftone_shared.runtime.tracing import mark_failed, span

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
MAX_ERROR_CHARACTERS = 1000


class Callback(TypedDict):
    """How a job of the image processing service ended."""

    job_id: Uuid
    status: Literal["completed", "failed"]
    output_url: NotRequired[Url]
    error: NotRequired[str]


def _job_not_found(text: str) -> Problem:
    return Problem(ProblemCode.NOT_FOUND, f"There is no job {text[:100]!r}.")


JOB_ID = Parameter(
    name="job_id",
    where="path",
    description="The job's ID.",
    schema={"type": "string", "format": "uuid"},
    parse=UUID,
    expected="a UUID",
    default=None,
    refuse=_job_not_found,
)


@endpoint(
    "POST",
    "/api/callbacks/{job_id}",
    name="callback",
    tag=Tag.OPERATIONS,
    summary="Report how a job of the image processing service ended",
    description="For the service that HALFTONE_PROCESSOR_URL names. Signed by Standard Webhooks"
    " with HALFTONE_PROCESSOR_SECRET. The same callback again changes nothing.",
    parameters=(JOB_ID,),
    body=Body(lambda: Schemas([Callback]).components["Callback"], component="Callback"),
    answers={204: Answer("Recorded, by this callback or an earlier one.", media_types=())},
    problems=(
        ProblemCode.MALFORMED_CALLBACK,
        ProblemCode.BAD_SIGNATURE,
        ProblemCode.NOT_FOUND,
        ProblemCode.JOB_ENDED,
    ),
    keyless=True,
)
async def take_callback(request: Request) -> Response:
    found = services(request)
    secret = found.settings.processor_secret
    job_id = JOB_ID.of(request)
    if job_id is None or secret is None:
        raise _job_not_found(request.path_params["job_id"])
    body = await _read_body(request)
    try:
        verify_signature(secret, body, request.headers)
    except BadSignature as error:
        raise Problem(ProblemCode.BAD_SIGNATURE, str(error)) from None
    callback = _parse(body, job_id)
    handled = await found.callbacks.record(_result(job_id, callback))
    if handled.product is None:
        raise _job_not_found(str(job_id))
    if handled.recorded is Recorded.ENDED_OTHERWISE:
        raise Problem(
            ProblemCode.JOB_ENDED,
            f"The job {job_id} has ended otherwise: it expired, its request was cancelled or"
            " deleted, or another result came before.",
        )
    _report(handled, handled.product, job_id, callback)
    return Response(status_code=204)


def _report(handled: Handled, product: ProductKey, job_id: UUID, callback: Callback) -> None:
    """Log and trace the callback with the upload that the job belongs to."""
    facts: dict[str, str | int] = {"halftone.seq": product.seq, "halftone.job_id": str(job_id)}
    with span("callback", product.request_id, **facts):
        log.info(
            "callback recorded",
            job_id=str(job_id),
            status=callback["status"],
            result=handled.recorded,
            request_id=str(product.request_id),
            seq=product.seq,
            x_request_id=handled.trace_id,
        )
        if callback["status"] == "failed":
            mark_failed(callback["error"])


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _malformed(f"it has more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _parse(body: bytes, job_id: UUID) -> Callback:
    try:
        given: Any = json.loads(body)
    except ValueError:
        raise _malformed("its body is not JSON") from None
    if not isinstance(given, dict):
        raise _malformed("its body is not a JSON object")
    if str(given.get("job_id", "")).lower() != str(job_id):
        raise _malformed(f"its job_id is not {str(job_id)!r}, as in its path")
    if given.get("status") == "completed":
        url = given.get("output_url")
        if not isinstance(url, str) or (problem := url_problem(url)) is not None:
            reason = problem if isinstance(url, str) else "It is missing."
            raise _malformed(f"its output_url cannot be used: {reason}")
        return {"job_id": str(job_id), "status": "completed", "output_url": url}
    if given.get("status") == "failed":
        error = given.get("error")
        text = error if isinstance(error, str) and error.strip() else "It gave no reason."
        return {"job_id": str(job_id), "status": "failed", "error": _storable(text)}
    raise _malformed("its status is neither 'completed' nor 'failed'")


def _storable(text: str) -> str:
    """PostgreSQL stores neither NUL nor half a surrogate pair."""
    shown = text[:MAX_ERROR_CHARACTERS].replace("\0", "\ufffd")
    return shown.encode("utf-8", "replace").decode()


def _malformed(reason: str) -> Problem:
    return Problem(ProblemCode.MALFORMED_CALLBACK, f"The callback cannot be used: {reason}.")


def _result(job_id: UUID, callback: Callback) -> JobResult:
    return JobResult(
        job_id, JobStatus(callback["status"]), callback.get("output_url"), callback.get("error")
    )

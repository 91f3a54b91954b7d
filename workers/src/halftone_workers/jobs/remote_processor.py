"""The external image processing service: sends a signed job for each output, and uses the results.

No thread waits for the service. An image whose outputs are being made raises Away. Its product is
released, and delivered again when the last callback has arrived
(halftone_shared.db.processor_jobs).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import structlog

from halftone_shared.db.processor_jobs import JobStatus, ProcessorJob, add_job, end_jobs, take_jobs
from halftone_shared.db.products import Claim
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions, Variant
from halftone_shared.model.results import ImageError
from halftone_shared.model.signing import signed_headers
from halftone_shared.model.status_object import timestamp
from halftone_shared.model.urls import url_problem
from halftone_shared.runtime.tracing import span
from halftone_workers.errors import BadHttp, BlockedAddress, FetchFailed, HostDown, HostNotFound
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.fetching import RETRYABLE_STATUSES
from halftone_workers.http.retry_after import retry_after_seconds
from halftone_workers.metrics import PROCESSOR_JOBS
from halftone_workers.runtime import Runtime
from halftone_workers.sharing import Who

log = structlog.get_logger(__name__)

SEND_TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024
_UNREACHABLE = (TimeoutError, httpx.HTTPError, BadHttp, BlockedAddress, HostDown, HostNotFound)


class Away(Exception):
    """The service is processing the image. The caller must release the product."""


@dataclass
class RemoteProcessor:
    """The service, for one attempt at a product. Create it in a thread: it reads the database."""

    runtime: Runtime
    claim: Claim
    options: ImageOptions
    who: Who
    _jobs: Mapping[int, Mapping[str, ProcessorJob]] = field(init=False)

    def __post_init__(self) -> None:
        jobs: defaultdict[int, dict[str, ProcessorJob]] = defaultdict(dict)
        for job in self.runtime.persist(lambda connection: take_jobs(connection, self.claim)):
            jobs[job.position][job.variant] = job
        self._jobs = jobs

    async def outputs(self, position: int, source_url: str) -> dict[str, bytes]:
        """The outputs of an image that the service has made, by the variant's name.

        Raises Away, after the jobs were sent or while they are open, and FetchFailed.
        """
        jobs = self._jobs.get(position, {})
        if any(job.status is JobStatus.SENT for job in jobs.values()):
            raise Away
        for job in jobs.values():
            _refuse_unless_completed(job)
        names = [output.name for output in self.options.outputs]
        if all(name in jobs for name in names):
            urls = {name: jobs[name].output_url or "" for name in names}
        else:
            urls = await self._send_all(position, source_url)
        return {name: await self._fetch(url) for name, url in urls.items()}

    async def _send_all(self, position: int, source_url: str) -> dict[str, str]:
        """Send a job for each output. Returns the output URLs if all were made at once."""
        sent: dict[UUID, str] = {}
        urls: dict[UUID, str] = {}
        try:
            for output in self.options.outputs:
                job_id = uuid4()
                sent[job_id] = output.name
                if (url := await self._send(job_id, position, source_url, output)) is not None:
                    urls[job_id] = url
        except BaseException:
            await self._end(JobStatus.CANCELLED, sent)
            raise
        if len(urls) < len(sent):
            for job_id, url in urls.items():
                await self._end(JobStatus.COMPLETED, [job_id], output_url=url)
            raise Away
        await self._end(JobStatus.COMPLETED, sent, used=True)
        return {sent[job_id]: url for job_id, url in urls.items()}

    async def _send(
        self, job_id: UUID, position: int, source_url: str, output: Variant
    ) -> str | None:
        """Send one job. Returns the output's URL from the answer; None if a callback follows."""
        settings = self.runtime.settings
        expires_at = await asyncio.to_thread(
            self.runtime.persist,
            lambda connection: add_job(
                connection,
                self.claim,
                job_id,
                position=position,
                variant=output.name,
                timeout_seconds=settings.processor_timeout_seconds,
            ),
        )
        if expires_at is None:
            raise Away  # the claim is void, which the next database statement detects
        job = {
            "job_id": str(job_id),
            "source_url": source_url,
            "options": output.options.to_json(),
            "callback_url": f"{settings.public_url}/api/callbacks/{job_id}",
            "expires_at": timestamp(expires_at),
        }
        facts: dict[str, str | int] = {
            "halftone.seq": self.claim.key.seq,
            "halftone.job_id": str(job_id),
        }
        try:
            with span("processor job", self.claim.key.request_id, **facts):
                status, answer, asked = await self._post(job_id, json.dumps(job))
        except _UNREACHABLE as error:
            reason = str(error) or type(error).__name__
            raise _failed(f"it cannot be reached ({reason})", retryable=True) from None
        PROCESSOR_JOBS.labels("sent" if status == 202 else "answered").inc()
        log.info("processor job sent", job_id=str(job_id), position=position, status_code=status)
        if status == 202:
            return None
        if status == 200:
            return _url_in(answer)
        retryable = status in RETRYABLE_STATUSES
        raise _failed(f"it answered {status}", retryable=retryable, retry_after=asked)

    async def _post(self, job_id: UUID, body: str) -> tuple[int, bytes, float | None]:
        settings = self.runtime.settings
        assert settings.processor_url is not None  # noqa: S101 - the caller has checked
        assert settings.processor_secret is not None  # noqa: S101
        headers = {
            "Content-Type": "application/json",
            **signed_headers(settings.processor_secret, job_id, body),
        }
        answer = b""
        async with (
            Deadline(SEND_TIMEOUT_SECONDS) as until,
            self.runtime.processor_http.request(
                "POST",
                settings.processor_url,
                until,
                headers=headers,
                content=body.encode(),
                who=self.who,
            ) as response,
        ):
            async for chunk in response.body:
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    break
            return response.status_code, answer, retry_after_seconds(response.headers)

    async def _fetch(self, url: str) -> bytes:
        try:
            fetched = await self.runtime.fetcher.fetch(url, self.who)
        except FetchFailed as failed:
            error = failed.error
            raise _failed(
                f"its output cannot be fetched. {error.message}",
                retryable=error.retryable,
                retry_after=failed.retry_after_seconds,
            ) from None
        try:
            return bytes(fetched.data)
        finally:
            fetched.reserved.give_back()

    async def _end(
        self, status: JobStatus, jobs: "list[UUID] | Mapping[UUID, str]", **how: Any
    ) -> None:
        await asyncio.to_thread(
            self.runtime.persist,
            lambda connection: end_jobs(connection, list(jobs), status, **how),
        )


def _refuse_unless_completed(job: ProcessorJob) -> None:
    if job.status is JobStatus.FAILED:
        PROCESSOR_JOBS.labels("failed").inc()
        raise _failed((job.error or "it gave no reason").rstrip("."))
    if job.status is JobStatus.EXPIRED:
        PROCESSOR_JOBS.labels("expired").inc()
        message = "The image processing service did not call back in time."
        raise FetchFailed(ImageError(ImageErrorCode.PROCESSOR_TIMEOUT, message, retryable=True))
    PROCESSOR_JOBS.labels("completed").inc()


def _url_in(answer: bytes) -> str:
    try:
        given = json.loads(answer)
        url = given["output_url"]
    except (ValueError, KeyError, TypeError):
        raise _failed("its answer 200 has no output_url") from None
    if not isinstance(url, str) or url_problem(url) is not None:
        raise _failed(f"its output_url {str(url)[:200]!r} cannot be used")
    return url


def _failed(
    reason: str, *, retryable: bool = False, retry_after: float | None = None
) -> FetchFailed:
    message = f"The image processing service failed: {reason}."
    error = ImageError(ImageErrorCode.PROCESSOR_FAILED, message, retryable=retryable)
    return FetchFailed(error, retry_after)

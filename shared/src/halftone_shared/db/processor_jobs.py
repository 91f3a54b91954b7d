"""Queries on jobs of the external image processing service: one for each output of an image.

A worker adds a job and sends it. While the service works on it, the product is *away*: PROCESSING,
held by no worker, with a lease that ends when its last job expires. A callback records how a job
ended. The product becomes due when its last open job ends, or when the lease does. The worker that
claims it next takes the results.

Every function that changes a product and its jobs locks the product first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from halftone_shared.db.products import Claim
from halftone_shared.db.requests import WORK_CHANNEL
from halftone_shared.model.results import ImageResult, ProductKey


class JobStatus(StrEnum):
    """`sent`: the job is at the service, or about to be sent. `expired`: no callback came in
    time.
    """

    SENT = "sent"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Recorded(StrEnum):
    """How a callback was handled. `repeated`: an earlier one said the same; nothing has changed."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    UNKNOWN = "unknown"
    ENDED_OTHERWISE = "ended_otherwise"


@dataclass(frozen=True)
class ProcessorJob:
    """A job and its state. `variant` is empty for the main output; `position` counts from 1."""

    id: UUID
    position: int
    variant: str
    status: JobStatus
    output_url: str | None
    error: str | None
    expires_at: datetime


_ADD = text(
    """
    INSERT INTO processor_jobs (id, request_id, seq, position, variant, expires_at)
    SELECT :id, request_id, seq, :position, :variant, now() + make_interval(secs => :seconds)
    FROM products
    WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
    RETURNING expires_at
    """
)


def add_job(
    connection: Connection,
    claim: Claim,
    job_id: UUID,
    *,
    position: int,
    variant: str,
    timeout_seconds: float,
) -> datetime | None:
    """Record a job before it is sent, and return when it expires; None if the claim is void."""
    expires_at: datetime | None = connection.execute(
        _ADD,
        {
            "id": job_id,
            "request_id": claim.key.request_id,
            "seq": claim.key.seq,
            "token": claim.token,
            "position": position,
            "variant": variant,
            "seconds": timeout_seconds,
        },
    ).scalar()
    return expires_at


# A result is used once: another attempt at the product sends its images again. Results of an image
# are taken only when none of its jobs is open.
_TAKE = text(
    """
    WITH unused AS (
        SELECT id, position, status = 'sent' AND expires_at > now() AS is_open,
               CASE WHEN status = 'sent' AND expires_at <= now() THEN 'expired' ELSE status END
               AS status
        FROM processor_jobs
        WHERE request_id = :request_id AND seq = :seq AND NOT used AND status <> 'cancelled'
        ORDER BY id FOR NO KEY UPDATE
    ), judged AS (
        SELECT id, status, bool_or(is_open) OVER (PARTITION BY position) AS waits FROM unused
    )
    UPDATE processor_jobs AS job SET status = judged.status, used = NOT judged.waits
    FROM judged WHERE job.id = judged.id
    RETURNING job.id, job.position, job.variant, job.status, job.output_url, job.error,
              job.expires_at
    """
)


def take_jobs(connection: Connection, claim: Claim) -> list[ProcessorJob]:
    """The jobs of a claimed product: unused results, and open jobs.

    Marks the results of images without an open job as used. If the worker then dies, the next one
    sends those images again.
    """
    found = connection.execute(
        _TAKE, {"request_id": claim.key.request_id, "seq": claim.key.seq}
    ).all()
    return [
        ProcessorJob(
            row.id,
            row.position,
            row.variant,
            JobStatus(row.status),
            row.output_url,
            row.error,
            row.expires_at,
        )
        for row in found
    ]


_SEND_AWAY = text(
    """
    UPDATE products
    SET away = true, attempts = attempts - 1, images = :images, output_files = :files,
        lease_until = (SELECT max(expires_at) FROM processor_jobs AS job
                       WHERE job.request_id = products.request_id AND job.seq = products.seq
                         AND job.status = 'sent')
    WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
      AND EXISTS (SELECT FROM processor_jobs AS job
                  WHERE job.request_id = products.request_id AND job.seq = products.seq
                    AND job.status = 'sent')
    """
).bindparams(bindparam("images", type_=JSONB), bindparam("files", type_=ARRAY(Text)))

# Makes the product due at once if no job is open.
_BRING_BACK = text(
    """
    UPDATE products
    SET status = 'PENDING', away = false, lease_until = NULL, next_attempt_at = now()
    WHERE request_id = :request_id AND seq = :seq AND away AND status = 'PROCESSING'
      AND NOT EXISTS (SELECT FROM processor_jobs AS job
                      WHERE job.request_id = products.request_id AND job.seq = products.seq
                        AND job.status = 'sent' AND job.expires_at > now())
    """
)
# For when a callback ended the last job before the product was sent away.
_HAND_BACK = text(
    """
    UPDATE products
    SET status = 'PENDING', attempts = attempts - 1, images = :images, output_files = :files,
        lease_until = NULL, next_attempt_at = now()
    WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
      AND NOT away
    """
).bindparams(bindparam("images", type_=JSONB), bindparam("files", type_=ARRAY(Text)))
_LOCK = text("SELECT FROM products WHERE request_id = :request_id AND seq = :seq FOR NO KEY UPDATE")
_NOTIFY = text(f"NOTIFY {WORK_CHANNEL}")


def send_away(connection: Connection, claim: Claim, done: Sequence[ImageResult | None]) -> bool:
    """Release a product whose images are with the service; results in `done` are kept.

    The attempt is not counted; the next claim, with the results, counts it. False if the claim is
    void. Runs in the caller's transaction.
    """
    key = {"request_id": claim.key.request_id, "seq": claim.key.seq}
    parameters = {
        **key,
        "token": claim.token,
        "images": [None if result is None else result.to_json() for result in done],
        "files": [None if result is None else result.file for result in done],
    }
    connection.execute(_LOCK, key)
    let_go = connection.execute(_SEND_AWAY, parameters).rowcount == 1
    if let_go:
        connection.execute(_BRING_BACK, key)
        return True
    return connection.execute(_HAND_BACK, parameters).rowcount == 1


@dataclass(frozen=True)
class JobResult:
    """What a callback says about a job: COMPLETED with a URL, or FAILED with an error."""

    job_id: UUID
    status: JobStatus
    output_url: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Handled:
    """How a callback was handled. `product`: the job's, None for an unknown job. `trace_id`: the
    X-Request-Id of its upload.
    """

    recorded: Recorded
    product: ProductKey | None = None
    trace_id: str | None = None


# Of simultaneous callbacks for a product's last jobs, one always sees that the others have ended:
# the statements after this one see what was committed before the product was locked.
_LOCK_ALL = text(
    """
    SELECT FROM products AS product
    WHERE (request_id, seq) IN (
        SELECT request_id, seq FROM processor_jobs WHERE id = ANY(:ids))
    ORDER BY request_id, seq FOR NO KEY UPDATE
    """
)
# The next two look jobs up by their keys only: with status and expires_at in a WHERE clause,
# PostgreSQL may read the index of all open jobs, of which there can be thousands.
_RECORD = text(
    """
    WITH result AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:output_urls AS text[]),
            CAST(:errors AS text[])) AS result(id, status, output_url, error)
    ), called AS (
        SELECT id, request_id, seq, status = 'sent' AND expires_at > now() AS is_open
        FROM processor_jobs WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE processor_jobs AS job
    SET status = result.status, output_url = result.output_url, error = result.error,
        ended_at = now()
    FROM called JOIN result USING (id) JOIN products AS product USING (request_id, seq)
    WHERE job.id = called.id AND called.is_open AND product.status IN ('PENDING', 'PROCESSING')
    RETURNING job.id
    """
)
_BRING_BACK_ALL = text(
    """
    UPDATE products AS product
    SET status = 'PENDING', away = false, lease_until = NULL, next_attempt_at = now()
    FROM (
        SELECT request_id, seq FROM processor_jobs
        WHERE (request_id, seq) IN (
            SELECT request_id, seq FROM processor_jobs WHERE id = ANY(:ids))
        GROUP BY request_id, seq HAVING NOT bool_or(status = 'sent' AND expires_at > now())
    ) AS ended
    WHERE product.request_id = ended.request_id AND product.seq = ended.seq
      AND product.away AND product.status = 'PROCESSING'
    """
)
_FIND = text(
    """
    SELECT job.id, job.status, job.output_url, job.error, job.request_id, job.seq, request.trace_id
    FROM processor_jobs AS job JOIN requests AS request ON request.id = job.request_id
    WHERE job.id = ANY(:ids)
    """
)


def record_callbacks(connection: Connection, results: Sequence[JobResult]) -> list[Handled]:
    """Record how jobs ended, each once, and return what became of each result, in their order.

    A product becomes due with the result of its last open job. Of several results for one job, the
    first counts. Runs in the caller's transaction.
    """
    first: dict[UUID, int] = {}
    for at, result in enumerate(results):
        first.setdefault(result.job_id, at)
    jobs = [results[at] for at in first.values()]
    ids = {"ids": list(first)}
    connection.execute(_LOCK_ALL, ids)
    columns = {
        "statuses": [job.status for job in jobs],
        "output_urls": [job.output_url for job in jobs],
        "errors": [job.error for job in jobs],
    }
    recorded = {row.id for row in connection.execute(_RECORD, ids | columns)}
    if recorded and connection.execute(_BRING_BACK_ALL, {"ids": list(recorded)}).rowcount:
        connection.execute(_NOTIFY)
    counted = {first[job_id] for job_id in recorded}
    known = {job.result.job_id: job for job in _find_jobs(connection, list(first))}
    return [
        _handled(result, known.get(result.job_id), is_counted=at in counted)
        for at, result in enumerate(results)
    ]


@dataclass(frozen=True)
class _KnownJob:
    result: JobResult
    product: ProductKey
    trace_id: str


def _find_jobs(connection: Connection, job_ids: Sequence[UUID]) -> list[_KnownJob]:
    return [
        _KnownJob(
            JobResult(row.id, JobStatus(row.status), row.output_url, row.error),
            ProductKey(row.request_id, row.seq),
            row.trace_id,
        )
        for row in connection.execute(_FIND, {"ids": job_ids})
    ]


def _handled(result: JobResult, job: _KnownJob | None, *, is_counted: bool) -> Handled:
    if job is None:
        return Handled(Recorded.UNKNOWN)
    other = Recorded.REPEATED if result == job.result else Recorded.ENDED_OTHERWISE
    return Handled(Recorded.RECORDED if is_counted else other, job.product, job.trace_id)


_END = text(
    """
    UPDATE processor_jobs
    SET status = :status, output_url = :output_url, used = used OR :used, ended_at = now()
    WHERE id = ANY(ARRAY(SELECT id FROM processor_jobs WHERE id = ANY(:ids) AND status = 'sent'
                         ORDER BY id FOR NO KEY UPDATE))
    """
)


def end_jobs(
    connection: Connection,
    job_ids: Sequence[UUID],
    status: JobStatus,
    *,
    output_url: str | None = None,
    used: bool = False,
) -> None:
    """End open jobs on the worker's behalf: the service answered at once, or refused them.

    `used`: the worker has the results. Jobs that a callback has ended stay as they are.
    """
    connection.execute(
        _END, {"ids": list(job_ids), "status": status, "output_url": output_url, "used": used}
    )


_STATE = text(
    """
    SELECT count(*) FILTER (WHERE expires_at > now()) AS open,
           count(*) FILTER (WHERE expires_at <= now()) AS overdue
    FROM processor_jobs WHERE status = 'sent'
    """
)


@dataclass(frozen=True)
class OpenJobs:
    """How many jobs the service has, and how many of them are overdue."""

    open: int
    overdue: int


def read_open_jobs(connection: Connection) -> OpenJobs:
    row = connection.execute(_STATE).one()
    return OpenJobs(row.open, row.overdue)

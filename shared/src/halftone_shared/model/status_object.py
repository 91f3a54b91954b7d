"""The status object: a request as JSON, the same in the API's answers and in webhooks."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, overload
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from halftone_shared.model.json_types import Count, Time, Url, Uuid
from halftone_shared.model.options import IMAGE_OPTIONS
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Outcome, Status, WaitReason, WebhookStatus
from halftone_shared.model.urls import without_password

# Earlier, the average reflects the start more than the rest.
ETA_AFTER_SECONDS = 2.0


class RequestLinks(TypedDict):
    """The URLs of every call for a request, and of its page."""

    self: Url
    details: Url
    download: Url
    report: Annotated[Url, Field(description="`download` with one row for each image.")]
    archive: Annotated[Url, Field(description="Every output image in one ZIP.")]
    failures: Url
    events: Url
    cancel: Url
    retry: Url
    webhooks: Url
    replay: Url
    delete: Annotated[Url, Field(description="By the method DELETE.")]
    page: Annotated[Url, Field(description="For people.")]


class WebhookState(TypedDict):
    url: str
    status: WebhookStatus
    attempts: Count
    last_status_code: int | None
    last_error: str | None
    next_attempt_at: Time | None
    delivered_at: Time | None


class Sample(TypedDict):
    """How much of the file was taken, for an upload with `sample`."""

    products: Count
    of_products: Annotated[Count, Field(description="In the whole file.")]
    of_images: Annotated[Count, Field(description="In the whole file.")]


class Estimate(TypedDict):
    """What the whole file would need, estimated from the sample."""

    bytes_in: Count
    bytes_out: Count
    bytes_saved: int
    seconds: float


class WaitingFor(TypedDict):
    host: str
    reason: Annotated[
        WaitReason,
        Field(
            description="`slow`: the host takes long to answer. `busy`: all its connections are in"
            " use. `does_not_answer`: the host is not called for a while. `paused`: an operator has"
            " paused the host. `retry_after`: the host asked to be tried again later."
        ),
    ]
    message: Annotated[str, Field(description="The reason as a sentence.")]
    products: Count


class StatusObject(TypedDict):
    """A request, as clients see it."""

    request_id: Uuid
    status: Annotated[
        Status,
        Field(
            description="`COMPLETED`: ended, and at least one image succeeded. "
            "`FAILED`: ended, and none did."
        ),
    ]
    outcome: Annotated[
        Outcome | None,
        Field(description="The result: `partial` if some images failed. Null while it runs."),
    ]
    progress: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="The share of products that have ended; 100 exactly when the request has.",
        ),
    ]
    csv_filename: Annotated[str, Field(description="The name of the uploaded file.")]
    total_products: Count
    processed_products: Annotated[Count, Field(description="At least one image succeeded.")]
    failed_products: Annotated[Count, Field(description="No image succeeded.")]
    cancelled_products: Annotated[Count, Field(description="Cancelled before they ended.")]
    skipped_rows: Annotated[
        Count, Field(description="Rows without an image, or wrong ones with `on_error=skip`.")
    ]
    total_images: Count
    processed_images: Count
    failed_images: Count
    kept_original_images: Annotated[
        Count, Field(description="Left as they were, because compressing made them no smaller.")
    ]
    reused_images: Annotated[
        Count, Field(description="Unchanged since an earlier request, whose outputs they keep.")
    ]
    errors_by_code: Annotated[
        dict[str, Count], Field(description="How many images failed with each error code.")
    ]
    bytes_in: Count
    bytes_out: Count
    bytes_saved: int
    sample: Annotated[Sample | None, Field(description="Null without the field `sample`.")]
    estimate: Annotated[Estimate | None, Field(description="At the end of a sample.")]
    waiting_for: Annotated[
        list[WaitingFor],
        Field(description="Hosts that products wait for, by the number of products."),
    ]
    options: Annotated[dict[str, Any], Field(description="The image options that apply.")]
    created_at: Time
    started_at: Time | None
    updated_at: Time
    completed_at: Time | None
    eta_seconds: Annotated[
        Count | None,
        Field(
            description="How long the rest will take, estimated from the speed so far. Null at the"
            " start, after a retry, and after the end."
        ),
    ]
    expires_at: Annotated[
        Time | None,
        Field(description="When it is deleted with its images. Null: not known yet, or never."),
    ]
    output_csv_url: Annotated[
        Url | None, Field(description="Set once the output file can be downloaded.")
    ]
    webhook: Annotated[WebhookState | None, Field(description="Null without a webhook URL.")]
    links: RequestLinks


def status_object(row: RequestStatus, public_url: str, retention_days: int = 0) -> StatusObject:
    """A request as JSON values. URLs are absolute, from `public_url`.

    `retention_days` is HALFTONE_RETENTION_DAYS: it gives the time until which the request is kept
    (null if it is 0 or the request is running).
    """
    links = request_links(row.id, public_url)
    return {
        "request_id": str(row.id),
        "status": row.status,
        "outcome": row.outcome,
        "progress": _progress(row),
        "csv_filename": row.csv_filename,
        "total_products": row.total_products,
        "processed_products": row.processed_products,
        "failed_products": row.failed_products,
        "cancelled_products": row.cancelled_products,
        "skipped_rows": row.skipped_rows,
        "total_images": row.total_images,
        "processed_images": row.processed_images,
        "failed_images": row.failed_images,
        "kept_original_images": row.kept_original_images,
        "reused_images": row.reused_images,
        "errors_by_code": dict(sorted(row.errors.items())),
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "bytes_saved": row.bytes_in - row.bytes_out,
        "sample": _sample(row),
        "estimate": _estimate(row),
        "waiting_for": [
            {
                "host": one.host,
                "reason": one.reason,
                "message": one.reason.sentence(one.host, timestamp(one.until)),
                "products": one.products,
            }
            for one in row.waiting_for
        ],
        "options": {name: row.options[name] for name in IMAGE_OPTIONS if name in row.options},
        "created_at": timestamp(row.created_at),
        "started_at": timestamp(row.started_at),
        "updated_at": timestamp(row.updated_at),
        "completed_at": timestamp(row.completed_at),
        "eta_seconds": _eta_seconds(row),
        "expires_at": timestamp(_expires_at(row.completed_at, retention_days)),
        "output_csv_url": links["download"] if row.has_ended else None,
        "webhook": _webhook(row),
        "links": links,
    }


def _expires_at(completed_at: datetime | None, retention_days: int) -> datetime | None:
    if completed_at is None or retention_days == 0:
        return None
    return completed_at + timedelta(days=retention_days)


def request_links(request_id: UUID, public_url: str) -> RequestLinks:
    return {
        "self": f"{public_url}/api/status/{request_id}",
        "details": f"{public_url}/api/details/{request_id}",
        "download": f"{public_url}/api/download/{request_id}",
        "report": f"{public_url}/api/download/{request_id}?report=images",
        "archive": f"{public_url}/api/archive/{request_id}",
        "failures": f"{public_url}/api/failures/{request_id}",
        "events": f"{public_url}/api/events/{request_id}",
        "cancel": f"{public_url}/api/cancel/{request_id}",
        "retry": f"{public_url}/api/retry/{request_id}",
        "webhooks": f"{public_url}/api/webhooks/{request_id}",
        "replay": f"{public_url}/api/webhooks/{request_id}/replay",
        "delete": f"{public_url}/api/requests/{request_id}",
        "page": f"{public_url}/r/{request_id}",
    }


@overload
def timestamp(moment: datetime) -> str: ...
@overload
def timestamp(moment: None) -> None: ...
@overload
def timestamp(moment: datetime | None) -> str | None: ...
def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond, with Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _progress(row: RequestStatus) -> float:
    """Percentage of products that have ended, to one decimal; rounding never makes it 100."""
    if row.ended_products == row.total_products:
        return 100.0
    return min(round(100 * row.ended_products / row.total_products, 1), 99.9)


def _eta_seconds(row: RequestStatus) -> int | None:
    """Seconds left, at the first run's average speed up to the newest change, so that the answer
    (and its ETag) changes only when the request does.
    """
    if row.has_ended or row.started_at is None or row.run > 1:
        return None
    elapsed = (row.updated_at - row.started_at).total_seconds()
    if row.ended_products == 0 or elapsed < ETA_AFTER_SECONDS:
        return None
    left = row.total_products - row.ended_products
    return round(elapsed * left / row.ended_products)


def _sample(row: RequestStatus) -> Sample | None:
    if row.sample is None:
        return None
    return {
        "products": row.sample["products"],
        "of_products": row.sample["of_products"],
        "of_images": row.sample["of_images"],
    }


def _estimate(row: RequestStatus) -> Estimate | None:
    """The estimate for the whole file; None before the end, and if no image succeeded."""
    if row.sample is None or row.completed_at is None or not row.processed_images:
        return None
    factor = row.sample["of_images"] / row.processed_images
    seconds = (row.completed_at - (row.started_at or row.created_at)).total_seconds()
    bytes_in, bytes_out = round(row.bytes_in * factor), round(row.bytes_out * factor)
    return {
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "bytes_saved": bytes_in - bytes_out,
        "seconds": round(seconds * row.sample["of_images"] / row.total_images, 1),
    }


def _webhook(row: RequestStatus) -> WebhookState | None:
    if row.webhook_url is None:
        return None
    return {
        "url": without_password(row.webhook_url),
        "status": row.webhook_status or WebhookStatus.PENDING,
        "attempts": row.webhook_attempts or 0,
        "last_status_code": row.webhook_last_status_code,
        "last_error": row.webhook_last_error,
        "next_attempt_at": timestamp(row.webhook_next_attempt_at),
        "delivered_at": timestamp(row.webhook_delivered_at),
    }


def event_type(status: Status) -> str:
    """The webhook's `type` for a request that has ended."""
    return f"request.{status.value.lower()}"

"""The status object: what a request looks like to its client, in the API's answers and in the
webhook alike.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from halftone_shared.model.options import IMAGE_OPTIONS
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Status, WebhookStatus


def status_object(row: RequestStatus, public_url: str, retention_days: int = 0) -> dict[str, Any]:
    """A request as JSON values. URLs are absolute, from `public_url`.

    `retention_days` is HALFTONE_RETENTION_DAYS: until when the request is kept follows from it,
    null where it is 0 or the request runs.
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
        "total_images": row.total_images,
        "processed_images": row.processed_images,
        "failed_images": row.failed_images,
        "kept_original_images": row.kept_original_images,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "bytes_saved": row.bytes_in - row.bytes_out,
        "options": {name: row.options[name] for name in IMAGE_OPTIONS if name in row.options},
        "created_at": timestamp(row.created_at),
        "started_at": timestamp(row.started_at),
        "updated_at": timestamp(row.updated_at),
        "completed_at": timestamp(row.completed_at),
        "expires_at": timestamp(_expires_at(row.completed_at, retention_days)),
        "output_csv_url": links["download"] if row.has_ended else None,
        "webhook": _webhook(row),
        "links": links,
    }


def _expires_at(completed_at: datetime | None, retention_days: int) -> datetime | None:
    if completed_at is None or retention_days == 0:
        return None
    return completed_at + timedelta(days=retention_days)


def request_links(request_id: UUID, public_url: str) -> dict[str, str]:
    return {
        "self": f"{public_url}/api/status/{request_id}",
        "details": f"{public_url}/api/details/{request_id}",
        "download": f"{public_url}/api/download/{request_id}",
    }


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond, with Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _progress(row: RequestStatus) -> float:
    """Share of products that have ended, 0–100, to a tenth; rounding never makes it 100."""
    ended = row.processed_products + row.failed_products + row.cancelled_products
    if ended == row.total_products:
        return 100.0
    return min(round(100 * ended / row.total_products, 1), 99.9)


def _webhook(row: RequestStatus) -> dict[str, Any] | None:
    if row.webhook_url is None:
        return None
    return {
        "url": row.webhook_url,
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

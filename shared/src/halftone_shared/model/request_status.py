"""A request as read from PostgreSQL, for status_object.py to show."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from halftone_shared.model.states import Outcome, Status, WaitReason, WebhookStatus
from halftone_shared.model.stored_json import StoredJson


@dataclass(frozen=True)
class WaitingHost:
    """A host that products of a request wait for, and until when, if the host named a time."""

    host: str
    reason: WaitReason
    products: int
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RequestStatus:
    """One request with its counters. Bytes and counts are the current run's, including results that
    earlier runs finished.

    `options` is the stored JSON, possibly written by a newer version. The members `webhook_…` are
    about the event of this run; all but `webhook_url` are None before the request has ended.
    """

    id: UUID
    status: Status
    outcome: Outcome | None
    run: int
    options: StoredJson
    csv_filename: str
    csv_header: list[str]
    csv_delimiter: str
    total_products: int
    total_images: int
    skipped_rows: int = 0
    largest_row_characters: int = 0
    sample: dict[str, int] | None = None
    processed_products: int
    failed_products: int
    cancelled_products: int
    processed_images: int
    failed_images: int
    kept_original_images: int
    reused_images: int
    bytes_in: int
    bytes_out: int
    errors: dict[str, int]
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    completed_at: datetime | None
    waiting_for: list[WaitingHost] = field(default_factory=list)
    webhook_url: str | None = None
    webhook_status: WebhookStatus | None = None
    webhook_attempts: int | None = None
    webhook_last_status_code: int | None = None
    webhook_last_error: str | None = None
    webhook_next_attempt_at: datetime | None = None
    webhook_delivered_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.completed_at is not None

    @property
    def ended_products(self) -> int:
        return self.processed_products + self.failed_products + self.cancelled_products

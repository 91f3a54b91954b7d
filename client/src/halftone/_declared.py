"""Answers, options, statuses and error codes, generated from the service's own.

`make generate` writes this file; do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict

from halftone._json import Word, mapping, moment, number_or_zero, text_or_empty

Json = Mapping[str, Any]


class Status(Word):
    """The state of a request, a product or an image.

    A product goes PENDING → PROCESSING → COMPLETED | FAILED | CANCELLED, and back to PENDING when
    its worker dies or a temporary failure is tried again. A request has ended when all of its
    products have: COMPLETED if at least one image succeeded, FAILED if none did.
    """

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Outcome(Word):
    """The result of a request that has ended. `partial`: some images succeeded and some failed."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"


class WebhookStatus(Word):
    """`failed`: every attempt of the schedule failed, or the receiver answered 410."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Columns:
    """Which columns of a file mean what."""

    key: Any
    name: Any
    images: tuple[Any, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Columns:
        return cls(
            key=data.get("key"),
            name=data.get("name"),
            images=tuple(data.get("images") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class RowError:
    """What is wrong with a row of the file, or worth a warning."""

    line: int
    column: str
    code: str
    message: str
    value: str
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RowError:
        return cls(
            line=number_or_zero(data.get("line")),
            column=text_or_empty(data.get("column")),
            code=text_or_empty(data.get("code")),
            message=text_or_empty(data.get("message")),
            value=text_or_empty(data.get("value")),
            raw=data,
        )


@dataclass(frozen=True)
class Accepted:
    """The answer to an upload: the request's ID, what was counted, and warnings."""

    message: str
    request_id: str
    status: Status
    profile: str
    """`native`, `columns`, or the system that exported the file."""
    columns: Columns
    total_products: int
    total_images: int
    skipped_rows: int
    """Rows without a product."""
    warning_count: int
    warnings: tuple[RowError, ...]
    links: Mapping[str, str]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Accepted:
        return cls(
            message=text_or_empty(data.get("message")),
            request_id=data["request_id"],
            status=Status(data["status"]),
            profile=text_or_empty(data.get("profile")),
            columns=Columns.from_json(mapping(data.get("columns"))),
            total_products=number_or_zero(data.get("total_products")),
            total_images=number_or_zero(data.get("total_images")),
            skipped_rows=number_or_zero(data.get("skipped_rows")),
            warning_count=number_or_zero(data.get("warning_count")),
            warnings=tuple(
                RowError.from_json(mapping(item)) for item in data.get("warnings") or ()
            ),
            links=mapping(data.get("links")),
            raw=data,
        )


@dataclass(frozen=True)
class Sample:
    """Which part of a file a sample is."""

    products: int
    of_products: int
    """In the whole file."""
    of_images: int
    """In the whole file."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Sample:
        return cls(
            products=number_or_zero(data.get("products")),
            of_products=number_or_zero(data.get("of_products")),
            of_images=number_or_zero(data.get("of_images")),
            raw=data,
        )


@dataclass(frozen=True)
class Estimate:
    """What the whole file would take, judged by a sample."""

    bytes_in: int
    bytes_out: int
    bytes_saved: int
    seconds: float
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Estimate:
        return cls(
            bytes_in=number_or_zero(data.get("bytes_in")),
            bytes_out=number_or_zero(data.get("bytes_out")),
            bytes_saved=number_or_zero(data.get("bytes_saved")),
            seconds=number_or_zero(data.get("seconds")),
            raw=data,
        )


@dataclass(frozen=True)
class WaitingFor:
    """What a running request waits for."""

    host: str
    reason: str
    """`slow`: the host takes long to answer. `busy`: all its connections are in use.
    `does_not_answer`: the host is not called for a while. `paused`: an operator has paused
    the host. `retry_after`: the host asked to be tried again later."""
    message: str
    """The reason as a sentence."""
    products: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> WaitingFor:
        return cls(
            host=text_or_empty(data.get("host")),
            reason=text_or_empty(data.get("reason")),
            message=text_or_empty(data.get("message")),
            products=number_or_zero(data.get("products")),
            raw=data,
        )


@dataclass(frozen=True)
class RequestStatusWebhook:
    """How the delivery of a request's webhook is going."""

    url: str
    status: WebhookStatus
    attempts: int
    last_status_code: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RequestStatusWebhook:
        return cls(
            url=text_or_empty(data.get("url")),
            status=WebhookStatus(data["status"]),
            attempts=number_or_zero(data.get("attempts")),
            last_status_code=data.get("last_status_code"),
            last_error=data.get("last_error"),
            next_attempt_at=None
            if data.get("next_attempt_at") is None
            else moment(data["next_attempt_at"]),
            delivered_at=None if data.get("delivered_at") is None else moment(data["delivered_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class RequestStatus:
    """How a request is going, or how it went."""

    request_id: str
    status: Status
    """`COMPLETED`: ended, and at least one image succeeded. `FAILED`: ended, and none did."""
    outcome: Outcome | None
    """The result: `partial` if some images failed. Null while it runs."""
    progress: float
    """The share of products that have ended; 100 exactly when the request has."""
    csv_filename: str
    """The name of the uploaded file."""
    total_products: int
    processed_products: int
    """At least one image succeeded."""
    failed_products: int
    """No image succeeded."""
    cancelled_products: int
    """Cancelled before they ended."""
    skipped_rows: int
    """Rows without an image, or wrong ones with `on_error=skip`."""
    total_images: int
    processed_images: int
    failed_images: int
    kept_original_images: int
    """Left as they were, because compressing made them no smaller."""
    reused_images: int
    """Unchanged since an earlier request, whose outputs they keep."""
    errors_by_code: Mapping[str, int]
    bytes_in: int
    bytes_out: int
    bytes_saved: int
    sample: Sample | None
    """Null without the field `sample`."""
    estimate: Estimate | None
    """At the end of a sample."""
    waiting_for: tuple[WaitingFor, ...]
    """Hosts that products wait for, by the number of products."""
    options: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    completed_at: datetime | None
    eta_seconds: int | None
    """How long the rest will take, estimated from the speed so far. Null at the start, after a
    retry, and after the end."""
    expires_at: datetime | None
    """When it is deleted with its images. Null: not known yet, or never."""
    output_csv_url: str | None
    """Set once the output file can be downloaded."""
    webhook: RequestStatusWebhook | None
    """Null without a webhook URL."""
    links: Mapping[str, str]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RequestStatus:
        return cls(
            request_id=data["request_id"],
            status=Status(data["status"]),
            outcome=None if data.get("outcome") is None else Outcome(data["outcome"]),
            progress=number_or_zero(data.get("progress")),
            csv_filename=text_or_empty(data.get("csv_filename")),
            total_products=number_or_zero(data.get("total_products")),
            processed_products=number_or_zero(data.get("processed_products")),
            failed_products=number_or_zero(data.get("failed_products")),
            cancelled_products=number_or_zero(data.get("cancelled_products")),
            skipped_rows=number_or_zero(data.get("skipped_rows")),
            total_images=number_or_zero(data.get("total_images")),
            processed_images=number_or_zero(data.get("processed_images")),
            failed_images=number_or_zero(data.get("failed_images")),
            kept_original_images=number_or_zero(data.get("kept_original_images")),
            reused_images=number_or_zero(data.get("reused_images")),
            errors_by_code={
                key: number_or_zero(item)
                for key, item in mapping(data.get("errors_by_code")).items()
            },
            bytes_in=number_or_zero(data.get("bytes_in")),
            bytes_out=number_or_zero(data.get("bytes_out")),
            bytes_saved=number_or_zero(data.get("bytes_saved")),
            sample=None
            if data.get("sample") is None
            else Sample.from_json(mapping(data.get("sample"))),
            estimate=None
            if data.get("estimate") is None
            else Estimate.from_json(mapping(data.get("estimate"))),
            waiting_for=tuple(
                WaitingFor.from_json(mapping(item)) for item in data.get("waiting_for") or ()
            ),
            options=mapping(data.get("options")),
            created_at=moment(data["created_at"]),
            started_at=None if data.get("started_at") is None else moment(data["started_at"]),
            updated_at=moment(data["updated_at"]),
            completed_at=None if data.get("completed_at") is None else moment(data["completed_at"]),
            eta_seconds=data.get("eta_seconds"),
            expires_at=None if data.get("expires_at") is None else moment(data["expires_at"]),
            output_csv_url=data.get("output_csv_url"),
            webhook=None
            if data.get("webhook") is None
            else RequestStatusWebhook.from_json(mapping(data.get("webhook"))),
            links=mapping(data.get("links")),
            raw=data,
        )


@dataclass(frozen=True)
class RuleCheck:
    """What a rule of a preset says of an image: pass, warn or fail."""

    rule: str
    result: str
    """`warn`: the image breaks advice, or the rule could not be measured; the message then
    begins with "Not measured"."""
    message: str
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RuleCheck:
        return cls(
            rule=text_or_empty(data.get("rule")),
            result=text_or_empty(data.get("result")),
            message=text_or_empty(data.get("message")),
            raw=data,
        )


@dataclass(frozen=True)
class Variant:
    """A further output of an image."""

    action: str | None
    """`kept_original`: compressing would not have made it smaller."""
    format: str | None
    width: int | None
    """In pixels, of the output."""
    height: int | None
    """In pixels, of the output."""
    bytes_in: int | None
    bytes_out: int | None
    source_width: int | None
    """In pixels, of the input."""
    source_height: int | None
    """In pixels, of the input."""
    score: float | None
    """With `mode=visual`: the SSIMULACRA2 score it reached."""
    checks: tuple[RuleCheck, ...]
    """With `preset`: one entry for each of its rules."""
    warnings: tuple[str, ...]
    output_url: str
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Variant:
        return cls(
            action=data.get("action"),
            format=data.get("format"),
            width=data.get("width"),
            height=data.get("height"),
            bytes_in=data.get("bytes_in"),
            bytes_out=data.get("bytes_out"),
            source_width=data.get("source_width"),
            source_height=data.get("source_height"),
            score=data.get("score"),
            checks=tuple(RuleCheck.from_json(mapping(item)) for item in data.get("checks") or ()),
            warnings=tuple(data.get("warnings") or ()),
            output_url=text_or_empty(data.get("output_url")),
            raw=data,
        )


@dataclass(frozen=True)
class ImageError:
    """Why an image failed. ERROR_CODES explains each code."""

    code: str
    """`/docs` explains every code."""
    message: str
    http_status: int | None
    retryable: bool
    """Another attempt may succeed."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> ImageError:
        return cls(
            code=text_or_empty(data.get("code")),
            message=text_or_empty(data.get("message")),
            http_status=data.get("http_status"),
            retryable=bool(data.get("retryable")),
            raw=data,
        )


@dataclass(frozen=True)
class Image:
    """One image: its input URL, and its output or its error."""

    action: str | None
    """`kept_original`: compressing would not have made it smaller."""
    format: str | None
    width: int | None
    """In pixels, of the output."""
    height: int | None
    """In pixels, of the output."""
    bytes_in: int | None
    bytes_out: int | None
    source_width: int | None
    """In pixels, of the input."""
    source_height: int | None
    """In pixels, of the input."""
    score: float | None
    """With `mode=visual`: the SSIMULACRA2 score it reached."""
    checks: tuple[RuleCheck, ...]
    """With `preset`: one entry for each of its rules."""
    warnings: tuple[str, ...]
    position: int
    """From 1, in the order of the input URLs."""
    input_url: str
    output_url: str | None
    status: Status
    variants: Mapping[str, Variant]
    error: ImageError | None
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Image:
        return cls(
            action=data.get("action"),
            format=data.get("format"),
            width=data.get("width"),
            height=data.get("height"),
            bytes_in=data.get("bytes_in"),
            bytes_out=data.get("bytes_out"),
            source_width=data.get("source_width"),
            source_height=data.get("source_height"),
            score=data.get("score"),
            checks=tuple(RuleCheck.from_json(mapping(item)) for item in data.get("checks") or ()),
            warnings=tuple(data.get("warnings") or ()),
            position=number_or_zero(data.get("position")),
            input_url=text_or_empty(data.get("input_url")),
            output_url=data.get("output_url"),
            status=Status(data["status"]),
            variants={
                key: Variant.from_json(mapping(item))
                for key, item in mapping(data.get("variants")).items()
            },
            error=None
            if data.get("error") is None
            else ImageError.from_json(mapping(data.get("error"))),
            raw=data,
        )


@dataclass(frozen=True)
class Product:
    """A row of the file, with its images in the order of its URLs."""

    line: int
    """The line of the file on which the row starts; the header is 1."""
    serial_number: int | None
    """Only in the native CSV; null in other files."""
    product_key: str | None
    """What identifies the product in the file."""
    product_name: str | None
    status: Status
    outcome: Outcome | None
    attempts: int
    input_image_urls: tuple[str, ...]
    output_image_urls: tuple[str | None, ...]
    """One entry for each input URL; null if the image failed."""
    images: tuple[Image, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Product:
        return cls(
            line=number_or_zero(data.get("line")),
            serial_number=data.get("serial_number"),
            product_key=data.get("product_key"),
            product_name=data.get("product_name"),
            status=Status(data["status"]),
            outcome=None if data.get("outcome") is None else Outcome(data["outcome"]),
            attempts=number_or_zero(data.get("attempts")),
            input_image_urls=tuple(data.get("input_image_urls") or ()),
            output_image_urls=tuple(data.get("output_image_urls") or ()),
            images=tuple(Image.from_json(mapping(item)) for item in data.get("images") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class WebhookDeliveryLog:
    """One attempt to deliver a webhook event."""

    attempt: int
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> WebhookDeliveryLog:
        return cls(
            attempt=number_or_zero(data.get("attempt")),
            started_at=moment(data["started_at"]),
            duration_ms=number_or_zero(data.get("duration_ms")),
            status_code=data.get("status_code"),
            error=data.get("error"),
            raw=data,
        )


@dataclass(frozen=True)
class Ending:
    """The body of a webhook event."""

    type: str
    timestamp: datetime
    data: RequestStatus
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Ending:
        return cls(
            type=text_or_empty(data.get("type")),
            timestamp=moment(data["timestamp"]),
            data=RequestStatus.from_json(mapping(data.get("data"))),
            raw=data,
        )


@dataclass(frozen=True)
class WebhookDelivery:
    """A webhook event: its state and the attempts to deliver it."""

    webhook_id: str
    run: int
    """1; every retry adds 1."""
    status: WebhookStatus
    attempts: int
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    log: tuple[WebhookDeliveryLog, ...]
    body: Ending | None
    """What every attempt sends. Null before the first attempt."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> WebhookDelivery:
        return cls(
            webhook_id=text_or_empty(data.get("webhook_id")),
            run=number_or_zero(data.get("run")),
            status=WebhookStatus(data["status"]),
            attempts=number_or_zero(data.get("attempts")),
            last_status_code=data.get("last_status_code"),
            last_error=data.get("last_error"),
            created_at=moment(data["created_at"]),
            next_attempt_at=None
            if data.get("next_attempt_at") is None
            else moment(data["next_attempt_at"]),
            delivered_at=None if data.get("delivered_at") is None else moment(data["delivered_at"]),
            log=tuple(
                WebhookDeliveryLog.from_json(mapping(item)) for item in data.get("log") or ()
            ),
            body=None if data.get("body") is None else Ending.from_json(mapping(data.get("body"))),
            raw=data,
        )


@dataclass(frozen=True)
class Webhooks:
    """The webhook events of a request, newest first."""

    request_id: str
    url: str | None
    events: tuple[WebhookDelivery, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Webhooks:
        return cls(
            request_id=data["request_id"],
            url=data.get("url"),
            events=tuple(
                WebhookDelivery.from_json(mapping(item)) for item in data.get("events") or ()
            ),
            raw=data,
        )


@dataclass(frozen=True)
class HostImages:
    """How many images of a file one host serves."""

    host: str
    images: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> HostImages:
        return cls(
            host=text_or_empty(data.get("host")),
            images=number_or_zero(data.get("images")),
            raw=data,
        )


@dataclass(frozen=True)
class PreviewedProduct:
    """A product as it was read from a file."""

    line: int
    serial_number: int | None
    product_key: str | None
    product_name: str | None
    input_image_urls: tuple[str, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> PreviewedProduct:
        return cls(
            line=number_or_zero(data.get("line")),
            serial_number=data.get("serial_number"),
            product_key=data.get("product_key"),
            product_name=data.get("product_name"),
            input_image_urls=tuple(data.get("input_image_urls") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class Check:
    """What the service understands of a file."""

    profile: str
    columns: Columns
    rows: int
    """The rows below the header that are not blank."""
    products: int
    images: int
    skipped_rows: int
    hosts: tuple[HostImages, ...]
    """By the number of images."""
    warnings: tuple[RowError, ...]
    warning_count: int
    preview: tuple[PreviewedProduct, ...]
    """The first five products."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Check:
        return cls(
            profile=text_or_empty(data.get("profile")),
            columns=Columns.from_json(mapping(data.get("columns"))),
            rows=number_or_zero(data.get("rows")),
            products=number_or_zero(data.get("products")),
            images=number_or_zero(data.get("images")),
            skipped_rows=number_or_zero(data.get("skipped_rows")),
            hosts=tuple(HostImages.from_json(mapping(item)) for item in data.get("hosts") or ()),
            warnings=tuple(
                RowError.from_json(mapping(item)) for item in data.get("warnings") or ()
            ),
            warning_count=number_or_zero(data.get("warning_count")),
            preview=tuple(
                PreviewedProduct.from_json(mapping(item)) for item in data.get("preview") or ()
            ),
            raw=data,
        )


@dataclass(frozen=True)
class FailureGroup:
    """The images of a request that failed with one error code."""

    code: str
    images: int
    products: int
    message: str
    """The message of one of these errors."""
    meaning: str
    retried: bool
    """Whether the service tried again by itself."""
    remedy: str
    """What to do about it."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> FailureGroup:
        return cls(
            code=text_or_empty(data.get("code")),
            images=number_or_zero(data.get("images")),
            products=number_or_zero(data.get("products")),
            message=text_or_empty(data.get("message")),
            meaning=text_or_empty(data.get("meaning")),
            retried=bool(data.get("retried")),
            remedy=text_or_empty(data.get("remedy")),
            raw=data,
        )


@dataclass(frozen=True)
class FailureGroups:
    """Why images of a request failed, by error code."""

    request_id: str
    failures: tuple[FailureGroup, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> FailureGroups:
        return cls(
            request_id=data["request_id"],
            failures=tuple(
                FailureGroup.from_json(mapping(item)) for item in data.get("failures") or ()
            ),
            raw=data,
        )


@dataclass(frozen=True)
class PausedHost:
    """A host from which no worker fetches images."""

    host: str
    paused_at: datetime
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> PausedHost:
        return cls(
            host=text_or_empty(data.get("host")),
            paused_at=moment(data["paused_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class Backlog:
    """What waits, and for how long."""

    waiting_products: int
    """Products that a worker may take now."""
    postponed_products: int
    """Products that may be taken later."""
    processing_products: int
    oldest_waiting_seconds: float
    requests_without_progress: int
    """Running requests in which no product has ended for 10 minutes."""
    pending_events: int
    """Webhook events not delivered yet."""
    oldest_due_event_seconds: float
    requests: Mapping[str, int]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Backlog:
        return cls(
            waiting_products=number_or_zero(data.get("waiting_products")),
            postponed_products=number_or_zero(data.get("postponed_products")),
            processing_products=number_or_zero(data.get("processing_products")),
            oldest_waiting_seconds=number_or_zero(data.get("oldest_waiting_seconds")),
            requests_without_progress=number_or_zero(data.get("requests_without_progress")),
            pending_events=number_or_zero(data.get("pending_events")),
            oldest_due_event_seconds=number_or_zero(data.get("oldest_due_event_seconds")),
            requests={
                key: number_or_zero(item) for key, item in mapping(data.get("requests")).items()
            },
            raw=data,
        )


@dataclass(frozen=True)
class BacklogMinuteObject:
    """`BacklogMinuteObject` of the OpenAPI document."""

    minute: datetime
    waiting_products: int
    postponed_products: int
    processing_products: int
    pending_events: int
    oldest_waiting_seconds: float
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> BacklogMinuteObject:
        return cls(
            minute=moment(data["minute"]),
            waiting_products=number_or_zero(data.get("waiting_products")),
            postponed_products=number_or_zero(data.get("postponed_products")),
            processing_products=number_or_zero(data.get("processing_products")),
            pending_events=number_or_zero(data.get("pending_events")),
            oldest_waiting_seconds=number_or_zero(data.get("oldest_waiting_seconds")),
            raw=data,
        )


@dataclass(frozen=True)
class MinuteObject:
    """`MinuteObject` of the OpenAPI document."""

    minute: datetime
    images: int
    failed: int
    bytes_in: int
    bytes_out: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> MinuteObject:
        return cls(
            minute=moment(data["minute"]),
            images=number_or_zero(data.get("images")),
            failed=number_or_zero(data.get("failed")),
            bytes_in=number_or_zero(data.get("bytes_in")),
            bytes_out=number_or_zero(data.get("bytes_out")),
            raw=data,
        )


@dataclass(frozen=True)
class HostObject:
    """`HostObject` of the OpenAPI document."""

    host: str
    images: int
    failed: int
    """Attempts that failed."""
    bytes_in: int
    bytes_out: int
    seconds_per_image: float
    """Includes the time that it waited."""
    paused: bool
    """An operator has paused the host."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> HostObject:
        return cls(
            host=text_or_empty(data.get("host")),
            images=number_or_zero(data.get("images")),
            failed=number_or_zero(data.get("failed")),
            bytes_in=number_or_zero(data.get("bytes_in")),
            bytes_out=number_or_zero(data.get("bytes_out")),
            seconds_per_image=number_or_zero(data.get("seconds_per_image")),
            paused=bool(data.get("paused")),
            raw=data,
        )


@dataclass(frozen=True)
class Worker:
    """A worker process that runs."""

    id: str
    host: str
    pid: int
    products_active: int
    codec_processes: int
    codec_processes_busy: int
    images: int
    """Attempts that succeeded since it started."""
    failed: int
    """Attempts that failed since it started."""
    seconds_per_image: float
    """Includes the time that it waited."""
    started_at: datetime
    last_seen_at: datetime
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Worker:
        return cls(
            id=text_or_empty(data.get("id")),
            host=text_or_empty(data.get("host")),
            pid=number_or_zero(data.get("pid")),
            products_active=number_or_zero(data.get("products_active")),
            codec_processes=number_or_zero(data.get("codec_processes")),
            codec_processes_busy=number_or_zero(data.get("codec_processes_busy")),
            images=number_or_zero(data.get("images")),
            failed=number_or_zero(data.get("failed")),
            seconds_per_image=number_or_zero(data.get("seconds_per_image")),
            started_at=moment(data["started_at"]),
            last_seen_at=moment(data["last_seen_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class RunningRequest:
    """A request that runs."""

    request_id: str
    csv_filename: str
    status: Status
    created_at: datetime
    last_progress_at: datetime
    """When a product last ended."""
    total_products: int
    ended_products: int
    failed_images: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RunningRequest:
        return cls(
            request_id=data["request_id"],
            csv_filename=text_or_empty(data.get("csv_filename")),
            status=Status(data["status"]),
            created_at=moment(data["created_at"]),
            last_progress_at=moment(data["last_progress_at"]),
            total_products=number_or_zero(data.get("total_products")),
            ended_products=number_or_zero(data.get("ended_products")),
            failed_images=number_or_zero(data.get("failed_images")),
            raw=data,
        )


@dataclass(frozen=True)
class FailureCount:
    """How many images of recent requests failed with one error code."""

    code: str
    images: int
    requests: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> FailureCount:
        return cls(
            code=text_or_empty(data.get("code")),
            images=number_or_zero(data.get("images")),
            requests=number_or_zero(data.get("requests")),
            raw=data,
        )


@dataclass(frozen=True)
class Operations:
    """What waits, who works, what runs and what failed."""

    paused_hosts: tuple[PausedHost, ...]
    backlog: Backlog
    history: tuple[BacklogMinuteObject, ...]
    """The backlog of the last hour, oldest first, by minute."""
    throughput: tuple[MinuteObject, ...]
    """The last hour, oldest first, without idle minutes."""
    hosts: tuple[HostObject, ...]
    """Those with the most failures first, at most 20."""
    workers: tuple[Worker, ...]
    running: tuple[RunningRequest, ...]
    """The oldest first, at most 20."""
    failures: tuple[FailureCount, ...]
    """By error code, counted over the first failures of each of the newest 50 requests."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Operations:
        return cls(
            paused_hosts=tuple(
                PausedHost.from_json(mapping(item)) for item in data.get("paused_hosts") or ()
            ),
            backlog=Backlog.from_json(mapping(data.get("backlog"))),
            history=tuple(
                BacklogMinuteObject.from_json(mapping(item)) for item in data.get("history") or ()
            ),
            throughput=tuple(
                MinuteObject.from_json(mapping(item)) for item in data.get("throughput") or ()
            ),
            hosts=tuple(HostObject.from_json(mapping(item)) for item in data.get("hosts") or ()),
            workers=tuple(Worker.from_json(mapping(item)) for item in data.get("workers") or ()),
            running=tuple(
                RunningRequest.from_json(mapping(item)) for item in data.get("running") or ()
            ),
            failures=tuple(
                FailureCount.from_json(mapping(item)) for item in data.get("failures") or ()
            ),
            raw=data,
        )


@dataclass(frozen=True)
class PresetRule:
    """A rule that each output is checked against."""

    rule: str
    kind: str
    value: Any
    """In pixels, bytes, megapixels or a share of 1; formats as a list."""
    level: str
    """What a violation is: `fail` for a condition, `warn` for advice."""
    enforced_from: str | None
    """The date from which a violation fails. Before, it warns."""
    source: str
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> PresetRule:
        return cls(
            rule=text_or_empty(data.get("rule")),
            kind=text_or_empty(data.get("kind")),
            value=data.get("value"),
            level=text_or_empty(data.get("level")),
            enforced_from=data.get("enforced_from"),
            source=text_or_empty(data.get("source")),
            raw=data,
        )


@dataclass(frozen=True)
class Preset:
    """A marketplace: defaults of an upload's options, and rules for its images."""

    name: str
    title: str
    as_of: str
    """The date at which the rules were read."""
    sources: tuple[str, ...]
    options: Mapping[str, Any]
    rules: tuple[PresetRule, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Preset:
        return cls(
            name=text_or_empty(data.get("name")),
            title=text_or_empty(data.get("title")),
            as_of=text_or_empty(data.get("as_of")),
            sources=tuple(data.get("sources") or ()),
            options=mapping(data.get("options")),
            rules=tuple(PresetRule.from_json(mapping(item)) for item in data.get("rules") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class Presets:
    """The presets that an upload can name."""

    presets: tuple[Preset, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Presets:
        return cls(
            presets=tuple(Preset.from_json(mapping(item)) for item in data.get("presets") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class Origin:
    """What is set for a host; values of headers and passwords are never shown."""

    host: str
    header_names: tuple[str, ...]
    has_password: bool
    requests_per_second: float | None
    connections: int | None
    updated_at: datetime
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Origin:
        return cls(
            host=text_or_empty(data.get("host")),
            header_names=tuple(data.get("header_names") or ()),
            has_password=bool(data.get("has_password")),
            requests_per_second=data.get("requests_per_second"),
            connections=data.get("connections"),
            updated_at=moment(data["updated_at"]),
            raw=data,
        )


@dataclass(frozen=True)
class Origins:
    """The hosts with settings of the owner's."""

    origins: tuple[Origin, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Origins:
        return cls(
            origins=tuple(Origin.from_json(mapping(item)) for item in data.get("origins") or ()),
            raw=data,
        )


@dataclass(frozen=True)
class Retried:
    """The requests that are tried again."""

    request_ids: tuple[str, ...]
    """The requests that are tried again."""
    more: bool
    """There are further ones: a call takes 500 at most."""
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> Retried:
        return cls(
            request_ids=tuple(data.get("request_ids") or ()),
            more=bool(data.get("more")),
            raw=data,
        )


@dataclass(frozen=True)
class RequestTotals:
    """Sums over all requests that a search finds."""

    requests: int
    total_images: int
    processed_images: int
    failed_images: int
    bytes_in: int
    bytes_out: int
    bytes_saved: int
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> RequestTotals:
        return cls(
            requests=number_or_zero(data.get("requests")),
            total_images=number_or_zero(data.get("total_images")),
            processed_images=number_or_zero(data.get("processed_images")),
            failed_images=number_or_zero(data.get("failed_images")),
            bytes_in=number_or_zero(data.get("bytes_in")),
            bytes_out=number_or_zero(data.get("bytes_out")),
            bytes_saved=number_or_zero(data.get("bytes_saved")),
            raw=data,
        )


@dataclass(frozen=True)
class PausedHosts:
    """The hosts that are paused."""

    paused_hosts: tuple[PausedHost, ...]
    raw: Json = field(repr=False, compare=False)
    """The JSON object as the service sent it."""

    @classmethod
    def from_json(cls, data: Json) -> PausedHosts:
        return cls(
            paused_hosts=tuple(
                PausedHost.from_json(mapping(item)) for item in data.get("paused_hosts") or ()
            ),
            raw=data,
        )


class UploadOptions(TypedDict, total=False):
    """What an upload may say beside its file."""

    mode: Literal["quality", "scale", "bytes", "visual"]
    """How the image gets smaller: by the encoder's quality (`quality`), by smaller sides
    (`scale`), to a share of its bytes (`bytes`), or to a visible quality (`visual`)."""
    scale: float
    """With `mode=scale`: the factor for both sides. Default: `0.5`."""
    ratio: float
    """With `mode=bytes`: the output has at most this share of the input's bytes. Default: `0.5`."""
    target: int
    """With `mode=visual`: the SSIMULACRA2 score that the output reaches, with as few bytes as
    possible. 70 is high quality, 90 is visually lossless. Default: `70`."""
    quality: int
    """The quality of the JPEG, WebP or AVIF encoder, and of PNG and GIF palettes. Default: `50`,
    `80` with `mode=scale`."""
    format: Literal["keep", "jpeg", "png", "webp", "avif", "gif", "tiff"]
    """The output format. `keep`: the input's format, or JPEG if halftone cannot write it."""
    effort: Literal["fast", "balanced", "best"]
    """How much processor time to spend: `best` makes the smallest files of the same quality,
    `fast` is the fastest."""
    max_bytes: int
    """The most bytes that an output may have. The quality is lowered until it fits."""
    crop: str
    """Keep this rectangle, `x,y,width,height` in pixels or per cent, before all other steps."""
    trim: int
    """Cut off a border of one colour. The colour may vary by this many of 255 levels."""
    width: int
    """The width in pixels of the box that `fit` refers to."""
    height: int
    """The height in pixels of the box that `fit` refers to."""
    fit: Literal["inside", "pad", "cover"]
    """How the image fits the box of `width` and `height`: `inside` it, on a background that
    fills the box (`pad`), or over the whole box and cut by `gravity` (`cover`)."""
    gravity: Literal[
        "center",
        "north",
        "northeast",
        "east",
        "southeast",
        "south",
        "southwest",
        "west",
        "northwest",
        "attention",
    ]
    """The part that `fit=cover` keeps."""
    enlarge: bool
    """Enlarge images that are smaller than `width` and `height`."""
    background: str
    """The colour that `fit=pad` adds. It also replaces transparency if the format has none."""
    filters: Sequence[str] | str
    """Filters, applied in this order: `grayscale`, `sharpen`, `blur:N`, `brightness:N`,
    `contrast:N`, `saturation:N`, `autocontrast`."""
    watermark_url: str
    """The URL of an image that is put on every output."""
    watermark_position: Literal[
        "center",
        "north",
        "northeast",
        "east",
        "southeast",
        "south",
        "southwest",
        "west",
        "northwest",
        "attention",
    ]
    """Where the watermark is placed. Default: `southeast`."""
    watermark_opacity: float
    """The opacity of the watermark; 1 is opaque. Default: `0.5`."""
    variants: Sequence[Mapping[str, Any]] | str
    """Further outputs of each image: a JSON array of objects with a `name` and image options. A
    variant takes over the request's other options, except those of size."""
    preset: str
    """The options and rules of a marketplace. Other options in the upload have precedence."""
    names: str
    """The output's file name without its extension, made of `{key}`, `{name}`, `{serial}`,
    `{position}`, `{original}`, `{variant}`."""
    profile: Literal[
        "auto",
        "native",
        "shopify",
        "shopify-template",
        "matrixify",
        "woocommerce",
        "webtoffee",
        "magento",
        "bigcommerce-v2",
        "bigcommerce",
        "prestashop",
        "shopware",
        "shopware5-images",
        "squarespace",
        "wix-classic",
        "wix",
        "ecwid",
        "lightspeed-c",
        "lightspeed-retail",
        "opencart",
        "opencart-images",
        "opencart-csv-price-pro",
        "google-merchant",
        "meta",
        "meta-indexed",
        "amazon",
        "amazon-flat-file",
        "ebay-draft",
        "ebay",
        "etsy",
        "channeladvisor",
        "adobe-target",
        "akeneo",
        "odoo",
        "sales-layer",
        "plentymarkets",
        "ergonode",
    ]
    """The system that exported the file; `auto` recognises it by the header."""
    columns: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str
    """The columns to read, by name or by number from 1: `{"key": "SKU", "name": "Title",
    "images": ["Main image", "More images"]}`."""
    base_url: str
    """The URL that paths in image cells are relative to."""
    encoding: str
    """The encoding of a text file that is not UTF-8: utf-8, utf-16, utf-16-le, utf-16-be,
    windows-1250, windows-1251, windows-1252, windows-1253, windows-1254, windows-1255,
    windows-1256, windows-1257, windows-1258, iso-8859-1, iso-8859-2, iso-8859-5, iso-8859-7,
    iso-8859-9, iso-8859-15, mac-roman, koi8-r, shift_jis, euc-jp, gb18030, big5, euc-kr."""
    sheet: str
    """The sheet of a workbook. Default: the first one with a known header."""
    on_error: Literal["refuse", "skip"]
    """`skip` accepts the valid rows; invalid ones come back with an empty output."""
    sample: int
    """Process only this many products, spread evenly over the file."""
    strict: bool
    """Refuse the upload if any URL is invalid."""
    fresh: bool
    """Process every image. Without it, images that have not changed since an earlier upload of
    yours with the same options keep their earlier outputs."""
    webhook_url: str
    """The URL that is called when the request has ended."""
    webhook_secret: str
    """The secret that signs the webhook: `whsec_` and at least 24 bytes in base64. It is never
    shown."""


@dataclass(frozen=True)
class UploadOption:
    """One option of an upload: its name, how it is written, and what it means."""

    name: str
    of_images: bool
    """Whether it is an option of images, which a variant may have too."""
    kind: Literal["text", "choice", "integer", "number", "boolean", "list", "json"]
    description: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None


UPLOAD_OPTIONS: tuple[UploadOption, ...] = (
    UploadOption(
        "mode",
        True,
        "choice",
        description=(
            "How the image gets smaller: by the encoder's quality (`quality`), by smaller "
            "sides (`scale`), to a share of its bytes (`bytes`), or to a visible quality "
            "(`visual`)."
        ),
        choices=("quality", "scale", "bytes", "visual"),
        default="quality",
    ),
    UploadOption(
        "scale",
        True,
        "number",
        description="With `mode=scale`: the factor for both sides. Default: `0.5`.",
        minimum=0,
        maximum=1,
    ),
    UploadOption(
        "ratio",
        True,
        "number",
        description=(
            "With `mode=bytes`: the output has at most this share of the input's bytes. "
            "Default: `0.5`."
        ),
        minimum=0,
        maximum=1,
    ),
    UploadOption(
        "target",
        True,
        "integer",
        description=(
            "With `mode=visual`: the SSIMULACRA2 score that the output reaches, with as few"
            " bytes as possible. 70 is high quality, 90 is visually lossless. Default: "
            "`70`."
        ),
        minimum=30,
        maximum=95,
    ),
    UploadOption(
        "quality",
        True,
        "integer",
        description=(
            "The quality of the JPEG, WebP or AVIF encoder, and of PNG and GIF palettes. "
            "Default: `50`, `80` with `mode=scale`."
        ),
        minimum=1,
        maximum=95,
    ),
    UploadOption(
        "format",
        True,
        "choice",
        description=(
            "The output format. `keep`: the input's format, or JPEG if halftone cannot write it."
        ),
        choices=("keep", "jpeg", "png", "webp", "avif", "gif", "tiff"),
        default="keep",
    ),
    UploadOption(
        "effort",
        True,
        "choice",
        description=(
            "How much processor time to spend: `best` makes the smallest files of the same "
            "quality, `fast` is the fastest."
        ),
        choices=("fast", "balanced", "best"),
        default="balanced",
    ),
    UploadOption(
        "max_bytes",
        True,
        "integer",
        description="The most bytes that an output may have. The quality is lowered until it fits.",
        minimum=1000,
    ),
    UploadOption(
        "crop",
        True,
        "text",
        description=(
            "Keep this rectangle, `x,y,width,height` in pixels or per cent, before all other steps."
        ),
    ),
    UploadOption(
        "trim",
        True,
        "integer",
        description=(
            "Cut off a border of one colour. The colour may vary by this many of 255 levels."
        ),
        minimum=0,
        maximum=100,
    ),
    UploadOption(
        "width",
        True,
        "integer",
        description="The width in pixels of the box that `fit` refers to.",
        minimum=1,
        maximum=16384,
    ),
    UploadOption(
        "height",
        True,
        "integer",
        description="The height in pixels of the box that `fit` refers to.",
        minimum=1,
        maximum=16384,
    ),
    UploadOption(
        "fit",
        True,
        "choice",
        description=(
            "How the image fits the box of `width` and `height`: `inside` it, on a "
            "background that fills the box (`pad`), or over the whole box and cut by "
            "`gravity` (`cover`)."
        ),
        choices=("inside", "pad", "cover"),
        default="inside",
    ),
    UploadOption(
        "gravity",
        True,
        "choice",
        description="The part that `fit=cover` keeps.",
        choices=(
            "center",
            "north",
            "northeast",
            "east",
            "southeast",
            "south",
            "southwest",
            "west",
            "northwest",
            "attention",
        ),
        default="center",
    ),
    UploadOption(
        "enlarge",
        True,
        "boolean",
        description="Enlarge images that are smaller than `width` and `height`.",
        default=False,
    ),
    UploadOption(
        "background",
        True,
        "text",
        description=(
            "The colour that `fit=pad` adds. It also replaces transparency if the format has none."
        ),
        default="#ffffff",
    ),
    UploadOption(
        "filters",
        True,
        "list",
        description=(
            "Filters, applied in this order: `grayscale`, `sharpen`, `blur:N`, "
            "`brightness:N`, `contrast:N`, `saturation:N`, `autocontrast`."
        ),
    ),
    UploadOption(
        "watermark_url",
        True,
        "text",
        description="The URL of an image that is put on every output.",
    ),
    UploadOption(
        "watermark_position",
        True,
        "choice",
        description="Where the watermark is placed. Default: `southeast`.",
        choices=(
            "center",
            "north",
            "northeast",
            "east",
            "southeast",
            "south",
            "southwest",
            "west",
            "northwest",
            "attention",
        ),
    ),
    UploadOption(
        "watermark_opacity",
        True,
        "number",
        description="The opacity of the watermark; 1 is opaque. Default: `0.5`.",
        minimum=0,
        maximum=1,
    ),
    UploadOption(
        "variants",
        True,
        "json",
        description=(
            "Further outputs of each image: a JSON array of objects with a `name` and image"
            " options. A variant takes over the request's other options, except those of "
            "size."
        ),
    ),
    UploadOption(
        "preset",
        True,
        "text",
        description=(
            "The options and rules of a marketplace. Other options in the upload have precedence."
        ),
    ),
    UploadOption(
        "names",
        True,
        "text",
        description=(
            "The output's file name without its extension, made of `{key}`, `{name}`, "
            "`{serial}`, `{position}`, `{original}`, `{variant}`."
        ),
    ),
    UploadOption(
        "profile",
        False,
        "choice",
        description="The system that exported the file; `auto` recognises it by the header.",
        choices=(
            "auto",
            "native",
            "shopify",
            "shopify-template",
            "matrixify",
            "woocommerce",
            "webtoffee",
            "magento",
            "bigcommerce-v2",
            "bigcommerce",
            "prestashop",
            "shopware",
            "shopware5-images",
            "squarespace",
            "wix-classic",
            "wix",
            "ecwid",
            "lightspeed-c",
            "lightspeed-retail",
            "opencart",
            "opencart-images",
            "opencart-csv-price-pro",
            "google-merchant",
            "meta",
            "meta-indexed",
            "amazon",
            "amazon-flat-file",
            "ebay-draft",
            "ebay",
            "etsy",
            "channeladvisor",
            "adobe-target",
            "akeneo",
            "odoo",
            "sales-layer",
            "plentymarkets",
            "ergonode",
        ),
        default="auto",
    ),
    UploadOption(
        "columns",
        False,
        "json",
        description=(
            'The columns to read, by name or by number from 1: `{"key": "SKU", "name": '
            '"Title", "images": ["Main image", "More images"]}`.'
        ),
    ),
    UploadOption(
        "base_url", False, "text", description="The URL that paths in image cells are relative to."
    ),
    UploadOption(
        "encoding",
        False,
        "text",
        description=(
            "The encoding of a text file that is not UTF-8: utf-8, utf-16, utf-16-le, "
            "utf-16-be, windows-1250, windows-1251, windows-1252, windows-1253, "
            "windows-1254, windows-1255, windows-1256, windows-1257, windows-1258, "
            "iso-8859-1, iso-8859-2, iso-8859-5, iso-8859-7, iso-8859-9, iso-8859-15, "
            "mac-roman, koi8-r, shift_jis, euc-jp, gb18030, big5, euc-kr."
        ),
    ),
    UploadOption(
        "sheet",
        False,
        "text",
        description="The sheet of a workbook. Default: the first one with a known header.",
    ),
    UploadOption(
        "on_error",
        False,
        "choice",
        description="`skip` accepts the valid rows; invalid ones come back with an empty output.",
        choices=("refuse", "skip"),
        default="refuse",
    ),
    UploadOption(
        "sample",
        False,
        "integer",
        description="Process only this many products, spread evenly over the file.",
        minimum=1,
        maximum=500,
    ),
    UploadOption(
        "strict",
        False,
        "boolean",
        description="Refuse the upload if any URL is invalid.",
        default=False,
    ),
    UploadOption(
        "fresh",
        False,
        "boolean",
        description=(
            "Process every image. Without it, images that have not changed since an earlier"
            " upload of yours with the same options keep their earlier outputs."
        ),
        default=False,
    ),
    UploadOption(
        "webhook_url",
        False,
        "text",
        description="The URL that is called when the request has ended.",
    ),
    UploadOption(
        "webhook_secret",
        False,
        "text",
        description=(
            "The secret that signs the webhook: `whsec_` and at least 24 bytes in base64. "
            "It is never shown."
        ),
    ),
)


@dataclass(frozen=True)
class ErrorCode:
    """Why an image failed, whether the service tried again by itself, what to do."""

    meaning: str
    retried: bool
    remedy: str


ERROR_CODES: Mapping[str, ErrorCode] = {
    "invalid_url": ErrorCode(
        "The text in the cell is not an http(s) URL.",
        False,
        "Correct the URL in the file and upload it again.",
    ),
    "blocked_address": ErrorCode(
        ("The host has an address in a private network, and halftone does not fetch from there."),
        False,
        (
            "Serve the image from a public address, or ask the operator to allow the "
            "network (HALFTONE_FETCH_ALLOW)."
        ),
    ),
    "dns_failed": ErrorCode(
        "The name of the host could not be resolved.",
        True,
        "Check the host in the URL; retry when its DNS answers again.",
    ),
    "connect_failed": ErrorCode(
        "The server could not be reached, or broke the connection.",
        True,
        ("Check that the server is running and that its firewall lets the service in; then retry."),
    ),
    "tls_failed": ErrorCode(
        "The server's certificate is not valid, or no secure connection could be made.",
        False,
        "Renew or correct the certificate of the host; then retry.",
    ),
    "timeout": ErrorCode(
        "The image did not arrive in time.",
        True,
        "Retry when the server is faster, or offer a smaller image.",
    ),
    "http_error": ErrorCode(
        "The server answered with an error, such as 404 or 403.",
        True,
        (
            "Open the URL in a browser. Correct it if it is wrong (404). If the shop "
            "refuses the service (401, 403), set a password for its host under origins, or "
            "let the shop allow the address of the service."
        ),
    ),
    "bad_http": ErrorCode(
        "The server's answer is not valid HTTP.",
        False,
        "Ask for the server, or the proxy in front of it, to be corrected; then retry.",
    ),
    "too_many_redirects": ErrorCode(
        "The server redirected too often (HALFTONE_MAX_REDIRECTS).",
        False,
        "Use the URL at the end of the redirects.",
    ),
    "too_large": ErrorCode(
        "The file has more bytes than the service accepts (HALFTONE_MAX_IMAGE_BYTES).",
        False,
        "Offer a smaller file, or ask the operator to raise the limit.",
    ),
    "empty_body": ErrorCode(
        "The server sent an empty file.", False, "Upload the image to the shop again; then retry."
    ),
    "not_an_image": ErrorCode(
        "The server sent something other than an image, often a web page.",
        False,
        ("Open the URL in a browser without signing in. Use a URL that shows only the image."),
    ),
    "unsupported_format": ErrorCode(
        "The image has a format that this service does not read.",
        False,
        "Offer it in a format that is read, such as JPEG, PNG or WebP.",
    ),
    "too_many_pixels": ErrorCode(
        ("The image has more pixels than the service accepts (HALFTONE_MAX_IMAGE_PIXELS)."),
        False,
        "Offer a smaller image, or ask the operator to raise the limit.",
    ),
    "too_many_frames": ErrorCode(
        ("The animation has more frames than the service accepts (HALFTONE_MAX_IMAGE_FRAMES)."),
        False,
        "Offer a shorter animation, or ask the operator to raise the limit.",
    ),
    "corrupt_image": ErrorCode(
        "The file is damaged or incomplete.",
        False,
        "Open the image in an editor, save it again, and retry.",
    ),
    "encode_timeout": ErrorCode(
        "Compressing the image took too long.",
        False,
        "Offer a smaller image, or choose a faster format or effort.",
    ),
    "encode_crashed": ErrorCode(
        "The image made the encoder fail.",
        False,
        ("Save the image again in an editor; if it still fails, report it to the operator."),
    ),
    "storage_failed": ErrorCode(
        "The compressed image could not be stored.",
        True,
        "Operators: check the storage; then retry what failed with this code.",
    ),
    "processor_failed": ErrorCode(
        ("The external image processing service refused the image, or its output cannot be used."),
        False,
        "Read the message. The operator of that service can find the job in its log.",
    ),
    "processor_timeout": ErrorCode(
        "The external image processing service did not call back in time.",
        True,
        ("Retry. If it happens again, ask the operator whether the service is overloaded."),
    ),
    "internal": ErrorCode(
        "The service failed.", True, "Retry; if it fails again, report it to the operator."
    ),
}

__all__ = [
    "ERROR_CODES",
    "UPLOAD_OPTIONS",
    "Accepted",
    "Backlog",
    "BacklogMinuteObject",
    "Check",
    "Columns",
    "Ending",
    "ErrorCode",
    "Estimate",
    "FailureCount",
    "FailureGroup",
    "FailureGroups",
    "HostImages",
    "HostObject",
    "Image",
    "ImageError",
    "MinuteObject",
    "Operations",
    "Origin",
    "Origins",
    "Outcome",
    "PausedHost",
    "PausedHosts",
    "Preset",
    "PresetRule",
    "Presets",
    "PreviewedProduct",
    "Product",
    "RequestStatus",
    "RequestStatusWebhook",
    "RequestTotals",
    "Retried",
    "RowError",
    "RuleCheck",
    "RunningRequest",
    "Sample",
    "Status",
    "UploadOption",
    "UploadOptions",
    "Variant",
    "WaitingFor",
    "WebhookDelivery",
    "WebhookDeliveryLog",
    "WebhookStatus",
    "Webhooks",
    "Worker",
]

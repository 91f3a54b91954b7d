"""Products and webhook events as clients see them. Pure."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from halftone_shared.db.details import ProductRow
from halftone_shared.db.webhook_events import WebhookAttemptRow, WebhookEventRow
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.facts_object import FactsObject, facts_object
from halftone_shared.model.image_names import ImageUrls
from halftone_shared.model.json_types import Count, Number, Time, Url
from halftone_shared.model.results import ImageError, ImageResult
from halftone_shared.model.signing import webhook_id
from halftone_shared.model.states import Outcome, Status, WebhookStatus, outcome_of
from halftone_shared.model.status_object import StatusObject, timestamp


class ImageErrorObject(TypedDict):
    code: Annotated[ImageErrorCode, Field(description="`/docs` explains every code.")]
    message: str
    http_status: int | None
    retryable: Annotated[bool, Field(description="Another attempt may succeed.")]


class VariantObject(FactsObject):
    """A further output of an image."""

    output_url: Url


class Image(FactsObject):
    """One input URL and its result."""

    position: Annotated[Number, Field(description="From 1, in the order of the input URLs.")]
    input_url: str
    output_url: Url | None
    status: Status
    variants: Annotated[
        dict[str, VariantObject],
        Field(description="The further outputs, by the names of the variants."),
    ]
    error: ImageErrorObject | None


class Product(TypedDict):
    """A row of the uploaded file."""

    line: Annotated[
        Number, Field(description="The line of the file on which the row starts; the header is 1.")
    ]
    serial_number: Annotated[
        int | None, Field(description="Only in the native CSV; null in other files.")
    ]
    product_key: Annotated[
        str | None, Field(description="What identifies the product in the file.")
    ]
    product_name: str | None
    status: Status
    outcome: Outcome | None
    attempts: Count
    input_image_urls: list[str]
    output_image_urls: Annotated[
        list[Url | None],
        Field(description="One entry for each input URL; null if the image failed."),
    ]
    images: list[Image]


class Attempt(TypedDict):
    """One attempt to deliver a webhook event."""

    attempt: Count
    started_at: Time
    duration_ms: Count
    status_code: int | None
    error: str | None


class EndingType(StrEnum):
    COMPLETED = "request.completed"
    FAILED = "request.failed"
    CANCELLED = "request.cancelled"


class Ending(TypedDict):
    """The body of a webhook."""

    type: EndingType
    timestamp: Time
    data: StatusObject


class Event(TypedDict):
    """A webhook event with its delivery log."""

    webhook_id: str
    run: Annotated[Count, Field(description="1; every retry adds 1.")]
    status: WebhookStatus
    attempts: Count
    last_status_code: int | None
    last_error: str | None
    created_at: Time
    next_attempt_at: Time | None
    delivered_at: Time | None
    log: list[Attempt]
    body: Annotated[
        Ending | None, Field(description="What every attempt sends. Null before the first attempt.")
    ]


def product_view(row: ProductRow, urls: ImageUrls) -> Product:
    """A product with one entry per input URL, in the order of the input."""
    images = image_views(row, urls)
    return {
        "line": row.line,
        "serial_number": row.serial_number,
        "product_key": product_key(row),
        "product_name": row.product_name,
        "status": row.status,
        "outcome": _product_outcome(row, images),
        "attempts": row.attempts,
        "input_image_urls": row.input_image_urls,
        "output_image_urls": [image["output_url"] for image in images],
        "images": images,
    }


def product_key(row: ProductRow) -> str | None:
    """Requests stored before keys existed have only the native CSV's serial number."""
    if row.product_key is None and row.serial_number is not None:
        return str(row.serial_number)
    return row.product_key


def image_views(row: ProductRow, urls: ImageUrls) -> list[Image]:
    unset = row.status if row.has_ended else Status.PENDING
    return [
        _image_view(position, url, image, urls, unset)
        for position, (url, image) in enumerate(
            zip(row.input_image_urls, row.images, strict=True), start=1
        )
    ]


def _image_view(
    position: int, input_url: str, image: ImageResult | None, urls: ImageUrls, unset: Status
) -> Image:
    return {
        "position": position,
        "input_url": input_url,
        "output_url": urls(image.file) if image and image.file else None,
        "status": unset if image is None else image.status,
        **facts_object(image.facts if image else None),
        "variants": {
            name: {"output_url": urls(one.file), **facts_object(one.facts)}
            for name, one in (image.variants if image else {}).items()
        },
        "error": _error_view(image.error) if image and image.error else None,
    }


def _error_view(error: ImageError) -> ImageErrorObject:
    return {
        "code": error.code,
        "message": error.message,
        "http_status": error.http_status,
        "retryable": error.retryable,
    }


def _product_outcome(row: ProductRow, images: list[Image]) -> Outcome | None:
    if row.status not in (Status.COMPLETED, Status.FAILED):
        return None
    return outcome_of(sum(image["status"] == Status.COMPLETED for image in images), len(images))


def event_view(event: WebhookEventRow, attempts: Iterable[WebhookAttemptRow]) -> Event:
    """A webhook event with its delivery log. `body` is the body of every attempt; it is null until
    the first attempt.
    """
    return {
        "webhook_id": webhook_id(event.id),
        "run": event.run,
        "status": event.status,
        "attempts": event.attempts,
        "last_status_code": event.last_status_code,
        "last_error": event.last_error,
        "created_at": timestamp(event.created_at),
        "next_attempt_at": timestamp(event.next_attempt_at),
        "delivered_at": timestamp(event.delivered_at),
        "log": [
            {
                "attempt": attempt.attempt,
                "started_at": timestamp(attempt.started_at),
                "duration_ms": attempt.duration_ms,
                "status_code": attempt.status_code,
                "error": attempt.error,
            }
            for attempt in attempts
        ],
        "body": json.loads(event.body) if event.body else None,
    }

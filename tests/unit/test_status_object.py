"""The status object from a database row: its members, progress and times."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Status
from halftone_shared.model.status_object import StatusObject, event_type, status_object, timestamp

REQUEST = UUID("8243ff57-0000-4000-8000-000000000001")
URL = "https://halftone.example"
CREATED = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)


def status(**columns: Any) -> StatusObject:
    defaults: dict[str, Any] = {
        "id": REQUEST,
        "status": "PROCESSING",
        "outcome": None,
        "run": 1,
        "options": {"mode": "quality", "quality": 50, "format": "keep"},
        "csv_filename": "products.csv",
        "csv_header": [],
        "csv_delimiter": ",",
        "total_products": 120,
        "total_images": 360,
        "processed_products": 49,
        "failed_products": 1,
        "cancelled_products": 0,
        "processed_images": 148,
        "failed_images": 2,
        "kept_original_images": 3,
        "reused_images": 0,
        "errors": {"http_error": 2},
        "bytes_in": 48211034,
        "bytes_out": 16012233,
        "created_at": CREATED,
        "started_at": CREATED + timedelta(seconds=1),
        "updated_at": CREATED + timedelta(seconds=2),
        "completed_at": None,
        "webhook_url": None,
        "webhook_status": None,
        "webhook_attempts": None,
        "webhook_last_status_code": None,
        "webhook_last_error": None,
        "webhook_next_attempt_at": None,
        "webhook_delivered_at": None,
    }
    return status_object(RequestStatus(**(defaults | columns)), URL)


def progress(ended: int, total: int) -> float:
    found = status(processed_products=ended, failed_products=0, total_products=total)["progress"]
    assert isinstance(found, float)
    return found


def test_members_are_those_of_the_contract() -> None:
    found: dict[str, Any] = {**status()}
    del found["progress"]
    assert found == {
        "request_id": str(REQUEST),
        "status": "PROCESSING",
        "outcome": None,
        "csv_filename": "products.csv",
        "total_products": 120,
        "processed_products": 49,
        "failed_products": 1,
        "cancelled_products": 0,
        "skipped_rows": 0,
        "total_images": 360,
        "processed_images": 148,
        "failed_images": 2,
        "kept_original_images": 3,
        "reused_images": 0,
        "errors_by_code": {"http_error": 2},
        "bytes_in": 48211034,
        "bytes_out": 16012233,
        "bytes_saved": 32198801,
        "sample": None,
        "estimate": None,
        "options": {"mode": "quality", "quality": 50, "format": "keep"},
        "created_at": "2026-03-01T12:00:00.123Z",
        "started_at": "2026-03-01T12:00:01.123Z",
        "updated_at": "2026-03-01T12:00:02.123Z",
        "completed_at": None,
        "eta_seconds": None,
        "waiting_for": [],
        "expires_at": None,
        "output_csv_url": None,
        "webhook": None,
        "links": {
            "self": f"{URL}/api/status/{REQUEST}",
            "details": f"{URL}/api/details/{REQUEST}",
            "download": f"{URL}/api/download/{REQUEST}",
            "report": f"{URL}/api/download/{REQUEST}?report=images",
            "archive": f"{URL}/api/archive/{REQUEST}",
            "failures": f"{URL}/api/failures/{REQUEST}",
            "events": f"{URL}/api/events/{REQUEST}",
            "cancel": f"{URL}/api/cancel/{REQUEST}",
            "retry": f"{URL}/api/retry/{REQUEST}",
            "webhooks": f"{URL}/api/webhooks/{REQUEST}",
            "replay": f"{URL}/api/webhooks/{REQUEST}/replay",
            "delete": f"{URL}/api/requests/{REQUEST}",
            "page": f"{URL}/r/{REQUEST}",
        },
    }


def test_progress_is_that_of_the_contracts_example() -> None:
    assert status()["progress"] == 41.7


def test_progress_counts_every_way_to_end() -> None:
    assert (
        status(processed_products=10, failed_products=20, cancelled_products=30)["progress"] == 50
    )


@pytest.mark.parametrize(
    ("ended", "total", "expected"),
    [(0, 1, 0), (1, 1, 100), (1, 2, 50), (1, 4, 25), (1, 8, 12.5), (0, 10**6, 0)],
)
def test_progress_is_the_share_that_has_ended(ended: int, total: int, expected: float) -> None:
    assert progress(ended, total) == expected


@pytest.mark.parametrize("total", [2, 3, 7, 999, 1000, 1001, 2001, 10_000, 1_000_000, 100_000_000])
def test_progress_is_100_exactly_at_the_end(total: int) -> None:
    assert progress(total - 1, total) < 100
    assert progress(total, total) == 100


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 10**6).flatmap(
        lambda total: st.tuples(st.integers(0, total - 1), st.just(total))
    )
)
def test_progress_never_goes_down_and_has_one_decimal(ended_and_total: tuple[int, int]) -> None:
    ended, total = ended_and_total
    now, then = progress(ended, total), progress(ended + 1, total)
    assert 0 <= now <= then <= 100
    assert now < 100
    assert round(now, 1) == now
    assert abs(now - 100 * ended / total) <= 0.1


@pytest.mark.parametrize("final", ["COMPLETED", "FAILED", "CANCELLED"])
def test_output_csv_url_is_there_once_the_request_has_ended(final: str) -> None:
    found = status(status=final, outcome="succeeded", completed_at=CREATED)
    assert found["output_csv_url"] == found["links"]["download"] == f"{URL}/api/download/{REQUEST}"
    assert found["completed_at"] == "2026-03-01T12:00:00.123Z"


def test_webhook_is_pending_before_there_is_an_event() -> None:
    assert status(webhook_url="https://client.example/hook")["webhook"] == {
        "url": "https://client.example/hook",
        "status": "pending",
        "attempts": 0,
        "last_status_code": None,
        "last_error": None,
        "next_attempt_at": None,
        "delivered_at": None,
    }


def test_webhook_shows_how_its_event_stands() -> None:
    assert status(
        webhook_url="https://client.example/hook",
        webhook_status="failed",
        webhook_attempts=3,
        webhook_last_status_code=410,
        webhook_last_error="The receiver answered 410.",
        webhook_next_attempt_at=CREATED,
        webhook_delivered_at=CREATED + timedelta(minutes=1),
    )["webhook"] == {
        "url": "https://client.example/hook",
        "status": "failed",
        "attempts": 3,
        "last_status_code": 410,
        "last_error": "The receiver answered 410.",
        "next_attempt_at": "2026-03-01T12:00:00.123Z",
        "delivered_at": "2026-03-01T12:01:00.123Z",
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 999999, UTC), "2026-01-02T03:04:05.999Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 1000, UTC), "2026-01-02T03:04:05.001Z"),
        (
            datetime(2026, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2025-12-31T18:30:00.000Z",
        ),
        (
            datetime(2026, 6, 30, 20, 0, tzinfo=timezone(timedelta(hours=-7))),
            "2026-07-01T03:00:00.000Z",
        ),
    ],
)
def test_times_are_utc_to_the_millisecond_with_z(moment: datetime | None, text: str | None) -> None:
    assert timestamp(moment) == text


@pytest.mark.parametrize(
    ("final", "event"),
    [
        (Status.COMPLETED, "request.completed"),
        (Status.FAILED, "request.failed"),
        (Status.CANCELLED, "request.cancelled"),
    ],
)
def test_event_type_is_the_way_the_request_ended(final: Status, event: str) -> None:
    assert event_type(final) == event


@pytest.mark.parametrize(
    ("seconds", "ended", "expected"), [(1, 50, None), (10, 0, None), (10, 50, 14), (60, 119, 1)]
)
def test_eta_is_the_average_so_far_of_what_is_left(
    seconds: int, ended: int, expected: int | None
) -> None:
    found = status(
        processed_products=ended,
        failed_products=0,
        started_at=CREATED,
        updated_at=CREATED + timedelta(seconds=seconds),
    )
    assert found["eta_seconds"] == expected


def test_eta_is_unknown_after_a_retry() -> None:
    assert status(run=2, updated_at=CREATED + timedelta(hours=1))["eta_seconds"] is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://anna:s3cret@shop.example/hook", "https://anna:…@shop.example/hook"),
        ("https://shop.example/a:b@c", "https://shop.example/a:b@c"),
        ("https://shop.example:8443/hook", "https://shop.example:8443/hook"),
    ],
)
def test_password_in_the_webhook_url_is_not_shown(url: str, shown: str) -> None:
    webhook = status(webhook_url=url)["webhook"]
    assert webhook is not None
    assert webhook["url"] == shown

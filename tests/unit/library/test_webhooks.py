"""Webhooks that the library's receiver accepts as halftone's, and those that it rejects."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

import halftone
from halftone_shared.model.signing import new_secret, signed_headers

SECRET = new_secret()
EVENT = UUID(int=7)
STATUS = {
    "request_id": str(uuid4()),
    "status": "COMPLETED",
    "outcome": "partial",
    "progress": 100.0,
    "csv_filename": "products.csv",
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:01.000Z",
    "completed_at": "2026-01-01T00:00:01.000Z",
}
BODY = json.dumps(
    {"type": "request.completed", "timestamp": "2026-01-01T00:00:01.000Z", "data": STATUS}
)


def test_webhook_of_the_service_is_verified_and_typed() -> None:
    event = halftone.verify_webhook(BODY.encode(), signed_headers(SECRET, EVENT, BODY), SECRET)
    assert event.type == "request.completed"
    assert event.id == f"msg_{EVENT.hex}"
    assert event.data.outcome is halftone.Outcome.PARTIAL
    assert event.timestamp == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_header_names_may_have_any_case_and_several_signatures() -> None:
    headers = {name.title(): value for name, value in signed_headers(SECRET, EVENT, BODY).items()}
    headers["Webhook-Signature"] = "v1,b3RoZXI= v2,x " + headers["Webhook-Signature"]
    assert halftone.verify_webhook(BODY, headers, SECRET).type == "request.completed"


@pytest.mark.parametrize(
    ("body", "secret", "age", "reason"),
    [
        (BODY + " ", SECRET, 0, "does not match"),
        (BODY, new_secret(), 0, "does not match"),
        (BODY, "whsec_!", 0, "not whsec_ followed by base64"),
        (BODY, SECRET, 301, "s old"),
        (BODY, SECRET, -301, "s old"),
    ],
)
def test_webhook_that_is_not_the_services_is_refused(
    body: str, secret: str, age: int, reason: str
) -> None:
    headers = signed_headers(SECRET, EVENT, BODY)
    sent_at = datetime.now(UTC) - timedelta(seconds=age)
    if age:
        headers["webhook-timestamp"] = str(int(sent_at.timestamp()))
    with pytest.raises(halftone.InvalidWebhook, match=reason):
        halftone.verify_webhook(body, headers, secret)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_header_is_named(name: str) -> None:
    headers = signed_headers(SECRET, EVENT, BODY)
    del headers[name]
    with pytest.raises(halftone.InvalidWebhook, match=name):
        halftone.verify_webhook(BODY, headers, SECRET)


def test_signed_body_that_is_no_event_is_refused() -> None:
    headers = signed_headers(SECRET, EVENT, "[]")
    with pytest.raises(halftone.InvalidWebhook, match="not an event"):
        halftone.verify_webhook("[]", headers, SECRET)

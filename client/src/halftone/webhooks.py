"""Verifying webhooks by Standard Webhooks (https://www.standardwebhooks.com/)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from halftone._declared import RequestStatus
from halftone._json import moment
from halftone.errors import InvalidWebhook

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that marks a secret, not one
TOLERANCE_SECONDS = 300
VERSION = "v1"


@dataclass(frozen=True)
class WebhookEvent:
    """What a webhook says.

    `id` is the same on every attempt: a receiver that has seen it answers 2xx and does nothing.
    `type`: `request.completed`, `request.failed` or `request.cancelled`. `data`: the request's
    status at its end.
    """

    id: str
    type: str
    timestamp: datetime
    data: RequestStatus


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> WebhookEvent:
    """The event of a webhook whose signature is right. Raises InvalidWebhook for any other.

    `body`: the request's body exactly as it came, before any parsing. `headers`: its headers, in
    any case. `secret`: the `webhook_secret` of the upload, or the service's own. A webhook older
    or newer than `tolerance_seconds` is refused, so that nobody can send a recorded one again.

    >>> verify_webhook(b"{}", {}, "whsec_c2VjcmV0")
    Traceback (most recent call last):
    halftone.errors.InvalidWebhook: The header webhook-id is missing.
    """
    content = body.encode() if isinstance(body, str) else body
    given = {name.lower(): value for name, value in headers.items()}
    event_id, sent_at, signatures = (
        _header(given, f"webhook-{name}") for name in ("id", "timestamp", "signature")
    )
    _check_age(sent_at, tolerance_seconds)
    signed = b".".join((event_id.encode(), sent_at.encode(), content))
    expected = base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()
    if not any(_matches(signature, expected) for signature in signatures.split()):
        raise InvalidWebhook("The signature does not match: another secret, or a changed body.")
    try:
        event = json.loads(content)
        return WebhookEvent(
            event_id,
            event["type"],
            moment(event["timestamp"]),
            RequestStatus.from_json(event["data"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidWebhook(f"The signed body is not an event of halftone: {error!r}.") from None


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise InvalidWebhook(f"The header {name} is missing.")
    return value


def _check_age(sent_at: str, tolerance_seconds: float) -> None:
    try:
        age = time.time() - int(sent_at)
    except ValueError:
        raise InvalidWebhook(f"The header webhook-timestamp is not a time: {sent_at!r}.") from None
    if abs(age) > tolerance_seconds:
        raise InvalidWebhook(
            f"The webhook is {age:.0f} s old; {tolerance_seconds:g} s are accepted."
        )


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidWebhook("The secret is not whsec_ followed by base64.") from None


def _matches(signature: str, expected: str) -> bool:
    version, _, value = signature.partition(",")
    return version == VERSION and hmac.compare_digest(value.encode(), expected.encode())

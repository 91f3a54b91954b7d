"""Webhook secrets and signatures by the Standard Webhooks specification
(https://www.standardwebhooks.com/).
"""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from standardwebhooks import Webhook, WebhookVerificationError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that marks a secret, not one
MIN_SECRET_BYTES = 24


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def secret_problem(secret: str) -> str | None:
    """Why a text is not a signing secret, as a sentence that does not quote it; None if it is
    one.
    """
    encoded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if secret.startswith(SECRET_PREFIX) and len(key) >= MIN_SECRET_BYTES:
        return None
    return (
        f"A webhook secret is {SECRET_PREFIX} followed by at least {MIN_SECRET_BYTES} bytes"
        " in base64."
    )


def webhook_id(event_id: UUID) -> str:
    """The `webhook-id` header of an event: the same on every attempt, so that receivers recognise
    repetitions.
    """
    return f"msg_{event_id.hex}"


def signed_headers(secret: str, event_id: UUID, body: str) -> dict[str, str]:
    """The three webhook headers for one attempt: the event's ID, the current time, and the
    signature.
    """
    # Webhook.sign replaces the time zone instead of converting it, so pass a UTC time.
    now = datetime.now(UTC)
    message_id = webhook_id(event_id)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }


class BadSignature(Exception):
    """A message without a valid, recent signature. The error's message is for the sender."""


def verify_signature(secret: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Check the three webhook headers of a received message, which may be at most 5 minutes old.

    Raises BadSignature.
    """
    try:
        Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
    except json.JSONDecodeError:
        return  # the signature is valid; the caller checks the body
    except (WebhookVerificationError, ValueError) as error:
        raise BadSignature(f"The signature is not valid: {error}.") from None

"""halftone's API as a typed Python library.

    import halftone

    with halftone.Client("http://127.0.0.1:8000") as client:
        request = client.upload("products.csv", quality=70)
        status = request.wait()
        request.download("output.csv")

`Client` is for programs without asyncio, `AsyncClient` for those with it; both have the same calls.
"""

from typing import TYPE_CHECKING, Any

from halftone import _declared
from halftone._client import Client, Request
from halftone._declared import *  # noqa: F403
from halftone.errors import (
    ApiError,
    Conflict,
    Forbidden,
    HalftoneError,
    InvalidSetting,
    InvalidUpload,
    InvalidWebhook,
    NotFound,
    RateLimited,
    Refused,
    ServiceError,
    StillRunning,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from halftone.webhooks import WebhookEvent, verify_webhook

if TYPE_CHECKING:
    from halftone._async_client import AsyncClient, AsyncRequest

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncRequest",
    "Client",
    "Conflict",
    "Forbidden",
    "HalftoneError",
    "InvalidSetting",
    "InvalidUpload",
    "InvalidWebhook",
    "NotFound",
    "RateLimited",
    "Refused",
    "Request",
    "ServiceError",
    "StillRunning",
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
    "WebhookEvent",
    "verify_webhook",
]
__all__ += _declared.__all__


def __getattr__(name: str) -> Any:
    """Import the client for asyncio when it is asked for: most programs need one of the two."""
    if name in ("AsyncClient", "AsyncRequest"):
        from halftone import _async_client

        return getattr(_async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The HALFTONE_ variables that any part of halftone reads. Any other is probably a typing error.

API, workers and commands often share one environment, so each of them knows the variables of all.
"""

import difflib
import os
from collections.abc import Mapping

from halftone_shared.runtime.supervision import PARENT_PIPE

PREFIX = "HALFTONE_"
# A test compares this with the settings classes and .env.example.
KNOWN = frozenset(
    PREFIX + name
    for name in (
        "ALLOWED_HOSTS",
        "API_HOST",
        "API_KEY",
        "API_PORT",
        "AUTH",
        "CODEC_PROCESSES",
        "CONNECTIONS_PER_HOST",
        "DATABASE_POOL_SIZE",
        "DATABASE_URL",
        "DOWNLOAD_TIMEOUT_SECONDS",
        "ENCODE_TIMEOUT_SECONDS",
        "FETCH_ALLOW",
        "FETCH_MEMORY_BYTES",
        "IMAGE_BASE_URL",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MAX_ATTEMPTS",
        "MAX_IMAGE_BYTES",
        "MAX_IMAGE_FRAMES",
        "MAX_IMAGE_PIXELS",
        "MAX_REDIRECTS",
        "MAX_ROWS",
        "MAX_UPLOAD_BYTES",
        "MAX_URLS_PER_PRODUCT",
        "METRICS_HOST",
        "METRICS_PORT",
        "PROCESSOR_SECRET",
        "PROCESSOR_TIMEOUT_SECONDS",
        "PROCESSOR_URL",
        "PRODUCTS_AT_ONCE",
        "PRODUCT_TIMEOUT_SECONDS",
        "PUBLIC_URL",
        "QUEUE_TYPE",
        "RABBITMQ_URL",
        "RETENTION_DAYS",
        "SHUTDOWN_GRACE_SECONDS",
        "STORAGE_URL",
        "UPLOAD_RATE_LIMIT",
        "UPLOAD_TIMEOUT_SECONDS",
        "URL",
        "USER_AGENT",
        "WEBHOOK_SECRET",
    )
)


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names that begin with HALFTONE_ but are not known."""
    return sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in KNOWN | {PARENT_PIPE}
    )


def warning_about(name: str) -> str:
    """A sentence about an unknown variable, with the nearest known name."""
    names = [known.removeprefix(PREFIX) for known in KNOWN]
    nearest = difflib.get_close_matches(name.upper().removeprefix(PREFIX), names, n=1, cutoff=0.6)
    meant = f" Did you mean {PREFIX}{nearest[0]}?" if nearest else ""
    return f"{name} is no setting of halftone and has no effect.{meant}"

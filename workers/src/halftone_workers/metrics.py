"""A worker's metrics, and the listener that Prometheus scrapes.

A worker is one process: its actors are threads, and it measures its codec processes itself. So
prometheus_client's default registry is enough, without a multiprocess folder that a killed process
would leave stale. No label contains user input: each host or URL would create a time series.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageResult
from halftone_shared.model.states import Action, Status, WebhookStatus

_SECONDS = Histogram(
    "halftone_image_stage_duration_seconds",
    "Time an image spent in each stage: download, wait (for a codec process), encode, store.",
    ["stage"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STAGE_SECONDS = {stage: _SECONDS.labels(stage) for stage in ("download", "wait", "encode", "store")}
IMAGES = Counter("halftone_images_total", "Images that ended, by outcome.", ["outcome"])
IMAGE_ERRORS = Counter(
    "halftone_image_errors_total", "Images that ended in an error, by its code.", ["code"]
)
INPUT_BYTES = Counter(
    "halftone_image_input_bytes_total", "Bytes downloaded for the images that succeeded."
)
OUTPUT_BYTES = Counter(
    "halftone_image_output_bytes_total", "Bytes stored for the images that succeeded."
)
PRODUCTS = Counter(
    "halftone_products_settled_total",
    "Products that a worker brought to an end, by status: without those that were cancelled.",
    ["status"],
)
POSTPONED = Counter(
    "halftone_products_postponed_total",
    "Products given back unfinished, by reason: a failure that may pass (retry), their host has no"
    " place (busy), does not answer (does_not_answer), asked to be tried again later"
    " (retry_after) or is paused (paused), no memory (memory), their owner has its share of the"
    " worker (share), cancelled or taken by another worker (void), an option that this worker does"
    " not know (newer), with the image processing service (away), a stop (stopping).",
    ["reason"],
)
PROCESSOR_JOBS = Counter(
    "halftone_processor_jobs_total",
    "Jobs of the external image processing service, by what happened: sent, answered at once, and"
    " completed, failed or expired, when the product came again.",
    ["outcome"],
)
WAITING_FOR_NETWORK = Gauge(
    "halftone_products_waiting_for_network",
    "Active products of this worker that only wait for the network, or for a place.",
)
HOSTS_SILENT = Gauge(
    "halftone_hosts_silent",
    "Hosts that this worker does not call for now, because they repeatedly did not answer.",
)
STORAGE_AWAY = Gauge(
    "halftone_storage_away",
    "1 while this worker cannot write the storage, so that its products wait; otherwise 0.",
)
PRODUCTS_ACTIVE = Gauge("halftone_products_active", "Products that this worker processes now.")
WEBHOOK_ATTEMPTS = Counter(
    "halftone_webhook_attempts_total", "Webhook deliveries attempted, by outcome.", ["outcome"]
)
WEBHOOK_SECONDS = Histogram(
    "halftone_webhook_attempt_duration_seconds",
    "Time a webhook's delivery took.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
CODEC_PROCESSES = Gauge("halftone_codec_processes", "Codec processes of this worker.")
CODEC_BUSY = Gauge("halftone_codec_processes_busy", "Codec processes that work on an image now.")
CODEC_MEMORY = Gauge(
    "halftone_codec_processes_resident_memory_bytes",
    "Memory of this worker's codec processes together; process_resident_memory_bytes is that of"
    " the worker alone.",
)
CODEC_ENDS = Counter(
    "halftone_codec_processes_lost_total",
    "Codec processes that were replaced: killed at an image's deadline, crashed in an image, out of"
    " memory for an image, or died while idle.",
    ["reason"],
)

# Create each series at the start, so that Prometheus sees its first increase.
for _outcome in (*Action, "failed"):
    IMAGES.labels(_outcome)
for _code in ImageErrorCode:
    IMAGE_ERRORS.labels(_code)
for _status in (Status.COMPLETED, Status.FAILED):
    PRODUCTS.labels(_status)
for _reason in (
    "retry", "busy", "does_not_answer", "retry_after", "paused",
    "memory", "share", "void", "away", "stopping", "newer",
):  # fmt: skip
    POSTPONED.labels(_reason)
for _outcome in ("delivered", "postponed", "failed", "not_tried"):
    WEBHOOK_ATTEMPTS.labels(_outcome)
for _outcome in ("sent", "answered", "completed", "failed", "expired"):
    PROCESSOR_JOBS.labels(_outcome)
for _reason in ("deadline", "crash", "memory", "idle"):
    CODEC_ENDS.labels(_reason)


def serve_metrics(host: str, port: int) -> None:
    """Serve Prometheus until the process ends. Raises OSError if the port cannot be opened."""
    start_http_server(port, host)


def count_images(images: Iterable[ImageResult]) -> None:
    """Count images that have ended and were recorded."""
    for image in images:
        if image.facts:
            INPUT_BYTES.inc(image.facts.bytes_in)
            OUTPUT_BYTES.inc(image.facts.bytes_out)
        IMAGES.labels(image.facts.action if image.facts else "failed").inc()
        if image.error:
            IMAGE_ERRORS.labels(image.error.code).inc()


def count_delivery(status: WebhookStatus, duration_ms: int) -> None:
    outcome = "postponed" if status is WebhookStatus.PENDING else status.value
    WEBHOOK_ATTEMPTS.labels(outcome).inc()
    WEBHOOK_SECONDS.observe(duration_ms / 1000)


def count_waiting_delivery() -> None:
    """Count an event that was due but not sent: its receiver or owner had no free place."""
    WEBHOOK_ATTEMPTS.labels("not_tried").inc()

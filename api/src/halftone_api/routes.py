"""Every route, by path. The aliases without /api are those of the documents that this service
replaces.
"""

from starlette.routing import BaseRoute, Route

from halftone_api.endpoints.cancel_retry import cancel, retry
from halftone_api.endpoints.events import watch
from halftone_api.endpoints.health import healthz, readyz
from halftone_api.endpoints.images import get_image
from halftone_api.endpoints.index import home
from halftone_api.endpoints.reading import download, get_details, get_request_status, list_requests
from halftone_api.endpoints.upload import upload
from halftone_api.endpoints.webhooks import get_webhooks, replay_webhook
from halftone_api.metrics import get_metrics
from halftone_api.openapi.page import docs, openapi_json

ROUTES: list[BaseRoute] = [
    Route("/", home),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/openapi.json", openapi_json),
    Route("/docs", docs),
    Route("/metrics", get_metrics),
    Route("/api/upload", upload, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/api/status/{request_id}", get_request_status),
    Route("/status/{request_id}", get_request_status),
    Route("/api/details/{request_id}", get_details),
    Route("/api/download/{request_id}", download),
    Route("/api/cancel/{request_id}", cancel, methods=["POST"]),
    Route("/api/retry/{request_id}", retry, methods=["POST"]),
    Route("/api/webhooks/{request_id}", get_webhooks),
    Route("/api/webhooks/{request_id}/replay", replay_webhook, methods=["POST"]),
    Route("/api/events/{request_id}", watch),
    Route("/api/requests", list_requests),
    Route("/api/image/{filename}", get_image),
]

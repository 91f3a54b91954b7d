"""`/metrics`, for Prometheus."""

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import Answer, endpoint
from halftone_api.metrics import ServiceGauges


@endpoint(
    "GET",
    "/metrics",
    name="metrics",
    summary="Metrics for Prometheus",
    description="Needs no key, because scrapers have none. Do not make it public.",
    answers={200: Answer("Prometheus' text format.", media_types=("text/plain",))},
    keyless=True,
)
async def get_metrics(request: Request) -> Response:
    gauges: ServiceGauges = request.app.state.service_gauges
    await gauges.refresh()
    content = await run_in_threadpool(gauges.exposition)
    return Response(content, media_type=CONTENT_TYPE_LATEST)

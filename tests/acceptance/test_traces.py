"""OpenTelemetry: one trace a request, from the upload over its products and images to the webhook."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from halftone_shared.tracing import configure_traces, span
from tests.support.halftone import running_up, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin, running_origin

HEADER = "Serial Number,Product Name,Input Image Urls\n"


@pytest.fixture
def collector() -> Iterator[Origin]:
    """Takes what OTLP exporters post."""
    with running_origin() as server:
        server.serve("/v1/traces", Answer())
        yield server


def _spans(collector: Origin) -> list[tuple[str, str, bytes]]:
    """Service, name and trace of every span that has arrived."""
    found = []
    for _, _, body in collector.posts:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            found += [(service, one.name, one.trace_id) for scope in resource.scope_spans for one in scope.spans]
    return found


def test_request_is_one_trace_from_upload_to_webhook(
    tmp_path: Path, origin: Origin, collector: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    image, hook = origin.serve("/a.jpg", jpeg()), origin.serve("/hook", Answer(status=204))
    with running_up(tmp_path) as service:
        request_id = service.accepted(f'{HEADER}1,SKU1,"{image},{image}"\n2,SKU2,{image}\n', webhook_url=hook)
        service.ended(request_id)
        wait_for(lambda: origin.posts, what="webhook")
        wait_for(lambda: len(_spans(collector)) >= 7, what="spans")
    spans = _spans(collector)
    assert {trace for _, _, trace in spans} == {UUID(request_id).bytes}
    assert Counter((service, name) for service, name, _ in spans) == {
        ("halftone-api", "upload"): 1,
        ("halftone-worker", "product"): 2,
        ("halftone-worker", "image"): 3,
        ("halftone-worker", "webhook"): 1,
    }


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    configure_traces("api")
    assert isinstance(span("upload", UUID(int=1), **{"halftone.seq": 1}), nullcontext)

"""OpenTelemetry: one trace per request, from its upload to its webhook."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from halftone_shared.runtime.tracing import configure_traces, span
from tests.support.csv_files import HEADER
from tests.support.halftone import free_port, log_lines, running_up, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin, running_origin
from tests.support.processor import SECRET, running_example


@pytest.fixture
def collector() -> Iterator[Origin]:
    """Accepts what OTLP exporters post."""
    with running_origin() as server:
        server.serve("/v1/traces", Answer())
        yield server


def _received(collector: Origin) -> list[tuple[str, Span]]:
    """Every span received so far, with its service."""
    found = []
    for _, _, body in collector.posts:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            ]
            found += [(service, one) for scope in resource.scope_spans for one in scope.spans]
    return found


def _spans(collector: Origin) -> list[tuple[str, str, bytes]]:
    """Service, name and trace of every span received so far."""
    return [(service, one.name, one.trace_id) for service, one in _received(collector)]


def test_request_is_one_trace_from_upload_to_webhook(
    tmp_path: Path, origin: Origin, collector: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    first, second, third = (origin.serve(f"/{n}.jpg", jpeg(seed=n)) for n in range(3))
    hook = origin.serve("/hook", Answer(status=204))
    with running_up(tmp_path) as service:
        request_id = service.accepted(
            f'{HEADER}1,SKU1,"{first},{second}"\n2,SKU2,{third}\n', webhook_url=hook
        )
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


def test_jobs_and_callbacks_of_an_external_processor_are_in_the_trace_and_logs(
    tmp_path: Path, origin: Origin, collector: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    row = f"1,SKU1,{origin.serve('/a.jpg', jpeg())}\n"
    with (
        running_example(tmp_path) as url,
        running_up(tmp_path, processor_url=url, processor_secret=SECRET) as service,
    ):
        uploaded = service.upload(HEADER + row)
        service.ended(uploaded.json()["request_id"])
    assert Counter((name, one.status.code) for name, one in _names(collector)) == {
        ("upload", Status.STATUS_CODE_UNSET): 1,
        ("product", Status.STATUS_CODE_UNSET): 2,
        ("image", Status.STATUS_CODE_UNSET): 2,
        ("processor job", Status.STATUS_CODE_UNSET): 1,
        ("callback", Status.STATUS_CODE_UNSET): 1,
    }
    about = {line["event"]: line for line in log_lines(service) if "job_id" in line}
    assert about.keys() == {"processor job sent", "callback recorded"}
    uploads_id = uploaded.headers["x-request-id"]
    assert {line["x_request_id"] for line in about.values()} == {uploads_id}


def _names(collector: Origin) -> list[tuple[str, Span]]:
    return [(one.name, one) for _, one in _received(collector)]


def test_what_fails_is_an_error_in_the_trace(
    tmp_path: Path, origin: Origin, collector: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    hook = origin.serve("/hook", Answer(status=500))
    with running_up(tmp_path) as service:
        service.ended(
            service.accepted(f"{HEADER}1,SKU1,{origin.url}/missing.jpg\n", webhook_url=hook)
        )
        wait_for(lambda: origin.posts, what="webhook")
    # Processes send the remaining spans when they end, at the latest.
    assert {(one.name, one.status.code, one.status.message) for _, one in _received(collector)} == {
        ("upload", Status.STATUS_CODE_UNSET, ""),
        ("image", Status.STATUS_CODE_ERROR, "FetchFailed: The server answered 404."),
        ("product", Status.STATUS_CODE_ERROR, "No image succeeded."),
        ("webhook", Status.STATUS_CODE_ERROR, "The receiver answered 500."),
    }


def test_collector_that_is_away_does_not_hold_up_the_end(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry tries to send each of several batches of spans for 10 s. A worker that waited
    for that would be killed with unfinished work, 14 s after it was asked to stop.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    image = origin.serve("/a.jpg", jpeg((64, 48)))
    rows = "".join(f"{number},SKU{number},{image}\n" for number in range(800))
    with running_up(tmp_path, shutdown_grace_seconds="1") as service:
        service.ended(service.accepted(HEADER + rows))
    ends = [
        line["event"]
        for line in log_lines(service)
        if line["event"] in ("worker stopped", "ended before its work was done")
    ]
    assert ends == ["worker stopped"]


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    configure_traces("api")
    assert isinstance(span("upload", UUID(int=1), **{"halftone.seq": 1}), nullcontext)

"""OpenTelemetry traces, if the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set.

A request's trace ID is the request's ID. So spans from all processes, at any later time, belong to
one trace without passing a trace context.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any
from uuid import UUID

_trace: Any = None
with suppress(ImportError):
    _trace = import_module("opentelemetry.trace")
_tracer: Any = None
_provider: Any = None
_exporter: Any = None
# Time to send the last spans when a process stops, even if the collector does not answer. Less than
# a worker's CLOSE_SECONDS.
FLUSH_SECONDS = 2.0
_NO_SPAN = nullcontext()


def configure_traces(service: str) -> None:
    """Send this process's spans to the collector in the environment. Does nothing if none is
    set.
    """
    global _tracer, _provider, _exporter
    if _trace is None or not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    sdk, export = (
        import_module("opentelemetry.sdk.trace"),
        import_module("opentelemetry.sdk.trace.export"),
    )
    resource = import_module("opentelemetry.sdk.resources").Resource.create(
        {"service.name": f"halftone-{service}"}
    )
    _exporter = import_module(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    ).OTLPSpanExporter()
    _provider = sdk.TracerProvider(resource=resource)
    _provider.add_span_processor(export.BatchSpanProcessor(_exporter))
    _tracer = _provider.get_tracer("halftone")


def end_traces() -> None:
    """Send the remaining spans, for at most FLUSH_SECONDS. OpenTelemetry's own limit is 30 s."""
    if _provider is None:
        return
    giving_up = threading.Timer(FLUSH_SECONDS, _exporter.shutdown)
    giving_up.start()
    _provider.shutdown()
    giving_up.cancel()


def span(name: str, request_id: UUID, **attributes: str | int) -> AbstractContextManager[None]:
    """A span of this request's trace. Costs nothing if traces are not configured. OpenTelemetry's
    no-op tracer took a seventh of a worker's Python time.
    """
    return _NO_SPAN if _tracer is None else _span(name, request_id, attributes)


def mark_failed(why: str) -> None:
    """Mark the current span as failed. An exception that leaves a span marks it by itself."""
    if _tracer is not None:
        _trace.get_current_span().set_status(_trace.Status(_trace.StatusCode.ERROR, why))


@contextmanager
def _span(name: str, request_id: UUID, attributes: dict[str, str | int]) -> Iterator[None]:
    # The lower half of the ID is the span ID of the request itself, the parent of all its spans.
    parent = _trace.SpanContext(
        trace_id=request_id.int,
        span_id=request_id.int & (1 << 64) - 1,
        is_remote=True,
        trace_flags=_trace.TraceFlags(_trace.TraceFlags.SAMPLED),
    )
    context = _trace.set_span_in_context(_trace.NonRecordingSpan(parent))
    with _tracer.start_as_current_span(
        name, context=context, attributes={"halftone.request_id": str(request_id), **attributes}
    ):
        yield

"""OpenTelemetry traces, where the extra `otel` is installed and the usual
OTEL_EXPORTER_OTLP_ENDPOINT is set.

A request's trace has the request's ID for its own: what happens to it in any process, however much
later, belongs together without a context being carried along.
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
# For what a process still has to send at its end, collector away or not: within a worker's
# CLOSE_SECONDS.
FLUSH_SECONDS = 2.0
_NO_SPAN = nullcontext()


def configure_traces(service: str) -> None:
    """Send this process's spans to the collector that the environment names; nothing where it names
    none.
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
    """Send what is left, and give it up after FLUSH_SECONDS: by itself OpenTelemetry tries for half
    a minute.
    """
    if _provider is None:
        return
    giving_up = threading.Timer(FLUSH_SECONDS, _exporter.shutdown)
    giving_up.start()
    _provider.shutdown()
    giving_up.cancel()


def span(name: str, request_id: UUID, **attributes: str | int) -> AbstractContextManager[None]:
    """A span of this request's trace. Costs nothing where traces are not configured:
    OpenTelemetry's own way of doing nothing was a seventh of a worker's Python.
    """
    return _NO_SPAN if _tracer is None else _span(name, request_id, attributes)


def mark_failed(why: str) -> None:
    """The span that is under way here ends in an error. One that an exception leaves is marked by
    that.
    """
    if _tracer is not None:
        _trace.get_current_span().set_status(_trace.Status(_trace.StatusCode.ERROR, why))


@contextmanager
def _span(name: str, request_id: UUID, attributes: dict[str, str | int]) -> Iterator[None]:
    # The lower half of the ID stands for the request itself, the parent of all its spans.
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

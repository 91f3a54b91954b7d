"""OpenTelemetry traces, where the extra `otel` is installed and the usual OTEL_EXPORTER_OTLP_ENDPOINT is set.

A request's trace has the request's ID for its own: what happens to it in any process, however much later, belongs
together without a context being carried along.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any
from uuid import UUID

_trace: Any = None
with suppress(ImportError):
    _trace = import_module("opentelemetry.trace")


def configure_traces(service: str) -> None:
    """Send this process's spans to the collector that the environment names; nothing where it names none."""
    if _trace is None or not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return
    sdk, export = import_module("opentelemetry.sdk.trace"), import_module("opentelemetry.sdk.trace.export")
    resource = import_module("opentelemetry.sdk.resources").Resource.create({"service.name": f"halftone-{service}"})
    exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter()
    provider = sdk.TracerProvider(resource=resource)
    provider.add_span_processor(export.BatchSpanProcessor(exporter))
    _trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, request_id: UUID, **attributes: str | int) -> Iterator[None]:
    """A span of this request's trace. Costs nothing where traces are not configured."""
    if _trace is None:
        yield
        return
    # The lower half of the ID stands for the request itself, the parent of all its spans.
    parent = _trace.SpanContext(
        trace_id=request_id.int,
        span_id=request_id.int & (1 << 64) - 1,
        is_remote=True,
        trace_flags=_trace.TraceFlags(_trace.TraceFlags.SAMPLED),
    )
    context = _trace.set_span_in_context(_trace.NonRecordingSpan(parent))
    with _trace.get_tracer("halftone").start_as_current_span(
        name, context=context, attributes={"halftone.request_id": str(request_id), **attributes}
    ):
        yield

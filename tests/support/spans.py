"""Spans of the OpenTelemetry SDK in memory, for tests of what roles record."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consumers.service.opentelemetry_spans import OpenTelemetrySpans


class SpansInMemory(OpenTelemetrySpans):
    """Starts spans as a role with traces does, and keeps those that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        super().__init__(provider.get_tracer("test"))

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, in the order of their ends."""
        return self._exporter.get_finished_spans()


def id_of(span: ReadableSpan) -> str:
    """Return the id of a span as headers have it."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    """Return the id of the parent of a span, empty if it begins a trace."""
    return "" if span.parent is None else f"{span.parent.span_id:016x}"


def links_of(span: ReadableSpan) -> list[str]:
    """Return the ids of the spans to which a span is linked."""
    return [f"{link.context.span_id:016x}" for link in span.links]

"""Spans by the OpenTelemetry SDK, exported by OTLP/HTTP. Imported only with `traces = "otlp"`.

The SDK exports in a thread of its own. A role only appends to a queue. If the collector does not take spans as fast as
they end, spans are dropped and counted. No role waits. OpenTelemetry's own variables configure the export
(OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_BSP_MAX_QUEUE_SIZE, …).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from importlib.metadata import version
from typing import Final, TypeAlias

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenTelemetrySpan
from opentelemetry.trace import SpanKind as OpenTelemetryKind

from consumers.kafka.threads import in_thread
from consumers.service.metrics import SpanResult
from consumers.service.spans import Attributes, Span, SpanKind
from schemas.records.trace_context import TraceContext

_log = structlog.get_logger("traces")
_NAME: Final = "signpost"
_VERSION: Final = version("kafka-signpost")
_KINDS: Final = {
    "client": OpenTelemetryKind.CLIENT,
    "consumer": OpenTelemetryKind.CONSUMER,
    "internal": OpenTelemetryKind.INTERNAL,
}
# A role that stops waits at most this long for the export of its last spans.
_CLOSE_S: Final = 2.0
_LOG_AGAIN_S: Final = 60.0
_MAX_REASON: Final = 300
# It logs headers that it cannot parse.
_HEADERS_LOGGER: Final = "opentelemetry.util.re"
_USER: Final = re.compile(r"//[^/\s]*@")
# Ids of events may have any length. A full queue of spans must not exhaust the memory.
_MAX_VALUE: Final = 512
# The default of the SDK.
_QUEUE_SIZE: Final = 2_048

OnSpans: TypeAlias = Callable[[SpanResult, int], None]
"""Counts spans. `dropped` is reported by the thread of the role, the others by the thread of the export."""


class _Reasons(logging.Filter):
    """Keeps the first line that the exporter logs about an export. Suppresses all its lines.

    Errors about a request that cannot be sent quote its URL or a header, which may have a password or a token. Such an
    error is a ValueError, and only its type is kept. User and password of a URL are masked in every line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.first:
            if isinstance(record.args, tuple):
                record.args = tuple(type(one).__name__ if isinstance(one, ValueError) else one for one in record.args)
            self.first = _USER.sub("//***@", record.getMessage())[:_MAX_REASON]
        return False


def _mask(record: logging.LogRecord) -> bool:
    """Mask the values in a line about OTEL_EXPORTER_OTLP_HEADERS: a header that cannot be parsed may have a token."""
    if record.args:
        record.args = ("***",)
    return True


class _CountingExporter(SpanExporter):
    """Exports by OTLP/HTTP and counts. Logs failed exports at most once a minute, and logs when exports work again."""

    def __init__(self, on_spans: OnSpans) -> None:
        logging.getLogger(_HEADERS_LOGGER).filters[:] = [_mask]
        self._exporter = OTLPSpanExporter()
        self._on_spans = on_spans
        self._reasons = _Reasons()
        # The exporter logs to the logger of its module. Of two filters the second would see nothing.
        logging.getLogger(OTLPSpanExporter.__module__).filters[:] = [self._reasons]
        self._failing_since_s: float | None = None
        self._log_again_s = 0.0
        self.taken = 0  # spans that have left the queue

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        self._reasons.first = ""
        result = self._exporter.export(spans)
        exported = result is SpanExportResult.SUCCESS
        self._on_spans("exported" if exported else "failed", len(spans))
        self._report(exported)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # it has no annotations

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True  # the exporter buffers nothing

    def _report(self, exported: bool) -> None:
        now_s = time.monotonic()
        if exported:
            if self._failing_since_s is not None:
                _log.info("traces.resumed", after_s=round(now_s - self._failing_since_s))
            self._failing_since_s = None
            return
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        if now_s >= self._log_again_s:
            self._log_again_s = now_s + _LOG_AGAIN_S
            _log.warning("traces.export_failed", reason=self._reasons.first)


class _BoundedProcessor(BatchSpanProcessor):
    """Drops new spans while the queue is full, and counts them. The SDK would drop old spans without a count."""

    def __init__(self, exporter: _CountingExporter, on_spans: OnSpans) -> None:
        self._max_waiting = _queue_size()
        super().__init__(exporter, max_queue_size=self._max_waiting)
        self._counting = exporter
        self._on_spans = on_spans
        self._given = 0

    def on_end(self, span: ReadableSpan) -> None:
        # The queue never has more spans than this difference: `taken` grows after they have left it.
        if self._given - self._counting.taken >= self._max_waiting:
            self._on_spans("dropped", 1)
            return
        self._given += 1
        super().on_end(span)


class _OpenSpan:
    """A span of the SDK (consumers.service.spans.Span)."""

    __slots__ = ("_span", "context")

    def __init__(self, span: OpenTelemetrySpan, state: bytes) -> None:
        self._span = span
        self.context = _context_of(span.get_span_context(), state)

    def end(self, end_ns: int, attributes: Attributes, error: str | None = None) -> None:
        span = self._span
        span.set_attributes(_encodable(attributes))
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(end_ns)


class OpenTelemetrySpans:
    """Starts spans of one process (consumers.service.spans.Spans)."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start(
        self,
        name: str,
        kind: SpanKind,
        start_ns: int,
        *,
        parent: TraceContext | None,
        attributes: Attributes,
        previous: bytes = b"",
    ) -> Span | None:
        """Start a span; see `Spans`."""
        if parent is not None and not parent.is_sampled:
            return None  # the sampler would make the same decision at a higher cost
        # An empty context: without one the SDK would take the current span of the thread as the parent.
        around = Context()
        links: list[Link] = []
        if parent is not None:
            around = set_span_in_context(NonRecordingSpan(_remote(parent, parent.span_id)), around)
            if previous:
                links.append(Link(_remote(parent, previous), {"signpost.link": "previous_attempt"}))
        span = self._tracer.start_span(
            name,
            around,
            _KINDS[kind],
            _encodable(attributes),
            links,
            start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        if not span.is_recording():
            return None
        return _OpenSpan(span, b"" if parent is None else parent.state)


class Tracing:
    """The traces of one process: `spans` until `close`.

    `service` is the name of the service unless OpenTelemetry's variables give one. `ratio` is the share of new traces
    that are sampled. ValueError: OpenTelemetry's variables contradict one another.
    """

    def __init__(self, service: str, ratio: float, on_spans: OnSpans) -> None:
        self._processor = _BoundedProcessor(_CountingExporter(on_spans), on_spans)
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=_resource(service),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attribute_length=_MAX_VALUE),
        )
        provider.add_span_processor(self._processor)
        self.spans = OpenTelemetrySpans(provider.get_tracer(_NAME, _VERSION))

    def close(self) -> None:
        """Export the spans that have ended, for two seconds at most."""
        wait([in_thread("traces", self._processor.shutdown)], _CLOSE_S)


def _queue_size() -> int:
    try:
        return int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, _QUEUE_SIZE))
    except ValueError as error:
        raise ValueError(f"{OTEL_BSP_MAX_QUEUE_SIZE} is not a whole number") from error


def _resource(service: str) -> Resource:
    """Return the description of this process, with what OpenTelemetry's variables say."""
    resource = Resource({SERVICE_VERSION: _VERSION}).merge(Resource.create())
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    return resource


def _encodable(attributes: Attributes) -> Attributes:
    """Replace what UTF-8 cannot encode, such as a lone surrogate: one such text would make a whole batch fail."""
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) and not value.isascii() else value
        for name, value in attributes.items()
    }


def _remote(parent: TraceContext, span_id: bytes) -> SpanContext:
    return SpanContext(
        int(parent.trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState.from_header([parent.state.decode()]) if parent.state else None,
    )


def _context_of(context: SpanContext, state: bytes) -> TraceContext:
    parent = b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags & 0b11)
    return TraceContext(parent, state)

"""Spans by the OpenTelemetry SDK: sampling, links, limits, and an export that never holds up a role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from consumers.service.opentelemetry_spans import Tracing
from schemas.records.trace_context import TRACEPARENT, TRACESTATE, TraceContext, context_of
from tests.support.otlp import OtlpReceiver
from tests.support.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = TraceContext(f"00-{TRACE}-00f067aa0ba902b7-01".encode(), b"vendor=1")
UNSAMPLED = TraceContext(PARENT.parent[:-1] + b"0")
QUEUE = 32


class Exporting:
    """Traces that are exported to a receiver, and the spans counted by their results."""

    def __init__(self, collector: OtlpReceiver, ratio: float = 1.0) -> None:
        self.collector = collector
        self.counts: Counter[str] = Counter()
        self.tracing = Tracing("signpost-test", ratio, lambda result, count: self.counts.update({result: count}))
        self.spans = self.tracing.spans

    def one(self, parent: TraceContext | None = PARENT, **attributes: str | int) -> TraceContext | None:
        """Start and end a span; return its context, None if it is not sampled."""
        span = self.spans.start("one", "consumer", 1_000, parent=parent, attributes=attributes)
        if span is None:
            return None
        span.end(2_000, {})
        return span.context


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """An OTLP receiver to which everything is exported at once."""
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        yield receiver


def test_span_is_exported_with_parent_link_and_error(collector: OtlpReceiver) -> None:
    """A span reaches the collector with its trace, parent, link, times, attributes and error."""
    exporting = Exporting(collector)
    span = exporting.spans.start(
        "POST", "client", 1_000, parent=PARENT, attributes={"a": "b"}, previous=b"1111111111111111"
    )
    assert span is not None
    span.end(2_000, {"http.response.status_code": 503}, "503")
    (found,) = collector.wait_for(1, TRACE)
    assert (found.service, found.name, found.kind) == ("signpost-test", "POST", "CLIENT")
    assert (found.span_id, found.parent_id) == (span.context.span_id.decode(), "00f067aa0ba902b7")
    assert found.links == ((TRACE, "1111111111111111"),)
    assert (found.start_ns, found.end_ns, found.is_error, found.state) == (1_000, 2_000, True, "vendor=1")
    assert found.attributes == {"a": "b", "http.response.status_code": 503, "error.type": "503"}
    assert span.context == TraceContext(f"00-{TRACE}-{found.span_id}-01".encode(), b"vendor=1")
    exporting.tracing.close()
    assert exporting.counts == {"exported": 1}


def test_variables_of_opentelemetry_name_the_service(collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME has precedence over the name of the role."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "webhooks")
    exporting = Exporting(collector)
    exporting.one()
    (found,) = collector.wait_for(1, TRACE)
    exporting.tracing.close()
    assert found.service == "webhooks"


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_header_of_the_event_decides_about_its_trace(collector: OtlpReceiver, ratio: float) -> None:
    """The ratio applies to new traces only: a trace that others began is recorded if they record it."""
    exporting = Exporting(collector, ratio)
    assert exporting.one(UNSAMPLED) is None
    assert exporting.one(PARENT) is not None
    new = exporting.one(None)
    assert (new is not None) == bool(ratio)
    exporting.tracing.close()
    assert exporting.counts["exported"] == 1 + int(ratio)


def test_half_of_new_traces_is_about_half(collector: OtlpReceiver) -> None:
    """A ratio of 0.5 samples roughly every second trace. The bounds are beyond one in a billion."""
    exporting = Exporting(collector, 0.5)
    kept = sum(exporting.one(None) is not None for _ in range(1_000))
    exporting.tracing.close()
    assert 400 < kept < 600


def test_long_text_of_an_event_is_cut(collector: OtlpReceiver) -> None:
    """An event id may have a megabyte; a span keeps its start."""
    exporting = Exporting(collector)
    exporting.one(id="x" * 1_000_000)
    (found,) = collector.wait_for(1, TRACE)
    exporting.tracing.close()
    assert found.attributes == {"id": "x" * 512}


def test_text_that_utf8_cannot_encode_is_replaced(collector: OtlpReceiver) -> None:
    """One such text must not make the spans of a whole batch fail."""
    exporting = Exporting(collector)
    exporting.one(id="a\ud83db\0é")
    (found,) = collector.wait_for(1, TRACE)
    exporting.tracing.close()
    assert found.attributes == {"id": "a?b\0é"}


def test_full_queue_drops_and_counts(collector: OtlpReceiver) -> None:
    """While the collector does not respond, the queue stays within its limit, and every span is counted once."""
    collector.hangs = True
    exporting = Exporting(collector)
    for _ in range(8):  # one batch, which the exporter takes and waits with
        exporting.one()
    wait_until(lambda: collector.requests, what="the exporter waits for the collector")
    for _ in range(1_000):
        exporting.one()
    waiting = 1_008 - exporting.counts["dropped"] - exporting.counts["failed"]
    assert exporting.counts["dropped"] >= 1_000 - QUEUE - 8
    assert 0 <= waiting <= QUEUE + 8
    exporting.tracing.close()


@pytest.mark.parametrize("status", [400, 401, 503])
def test_refused_spans_are_counted_and_logged_once(collector: OtlpReceiver, status: int) -> None:
    """A collector that refuses spans makes one log line with the reason, however many batches fail."""
    collector.status = status
    exporting = Exporting(collector)
    with capture_logs() as lines:
        for number in range(2):
            exporting.one()
            wait_until(lambda: exporting.counts["failed"] > number, what="the export has failed")  # noqa: B023  # called at once
        collector.status = 200
        exporting.one()
        wait_until(lambda: exporting.counts["exported"] == 1, what="the export succeeds")
        exporting.tracing.close()
    assert [line["event"] for line in lines] == ["traces.export_failed", "traces.resumed"]
    assert str(status) in lines[0]["reason"] or "Service Unavailable" in lines[0]["reason"]
    assert exporting.counts == {"failed": 2, "exported": 1}


@pytest.mark.parametrize("state", [b"1a=b", b"a@1b=c", b"a@@b=c", b"a=b", b"1a@b=c"])
def test_tracestate_of_an_event_makes_no_log_line(
    collector: OtlpReceiver, caplog: pytest.LogCaptureFixture, state: bytes
) -> None:
    """OpenTelemetry logs a value that it does not accept, in full and with every span: none reaches it."""
    parent = context_of([(TRACEPARENT, PARENT.parent), (TRACESTATE, state)])
    exporting = Exporting(collector)
    assert exporting.one(parent) is not None
    exporting.tracing.close()
    assert [record.name for record in caplog.records if record.name.startswith("opentelemetry")] == []


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "htp://signpost:s3cret@collector.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://signpost:s3cret@"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret%0Ax"),
    ],
)
def test_log_of_a_failed_export_has_no_password(
    collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """A URL or a header that cannot be used may have a password, which the library's error quotes."""
    monkeypatch.setenv(variable, value)
    exporting = Exporting(collector)
    with capture_logs() as lines:
        exporting.one()
        wait_until(lambda: exporting.counts["failed"], what="the export has failed")
        exporting.tracing.close()
    assert [line["event"] for line in lines] == ["traces.export_failed"]
    assert lines[0]["reason"]
    assert "s3cret" not in lines[0]["reason"]


@pytest.mark.promise(6)
def test_log_of_an_invalid_header_has_no_token(
    collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line says that the header is invalid, without its value."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer s3cret")
    Exporting(collector).tracing.close()
    assert "invalid" in caplog.text
    assert "s3cret" not in caplog.text


def test_close_exports_what_has_ended(collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spans of the last seconds of a role are not lost."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    exporting = Exporting(collector)
    for _ in range(5):
        exporting.one()
    exporting.tracing.close()
    assert len(collector.of(TRACE)) == 5


def test_current_span_of_the_thread_is_no_parent(collector: OtlpReceiver) -> None:
    """An event without a context begins a trace, even within code that is traced itself."""
    from opentelemetry import trace  # noqa: PLC0415  # only this test uses the API itself
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags  # noqa: PLC0415  # as above

    around = SpanContext(int(TRACE, 16), 1, is_remote=False, trace_flags=TraceFlags(1))
    exporting = Exporting(collector)
    with trace.use_span(NonRecordingSpan(around)):
        new = exporting.one(None)
    exporting.tracing.close()
    assert new is not None
    assert new.trace_id != TRACE

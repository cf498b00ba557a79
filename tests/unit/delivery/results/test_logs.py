"""Logs: text on a terminal, JSON elsewhere, one wide line per outcome, nothing secret."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.results.outcome_log import OutcomeLog
from deploy.config.logs import Format, configure_logging
from schemas.records.delivery import Job, Outcome, State
from schemas.records.trace_context import TraceContext


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore the logging configuration of the process after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def outcome(state: State = "retry", *, event_id: str = "evt_1", error: str | None = None) -> Outcome:
    """Return the outcome of the second attempt of a job, with a 503 after 184 ms."""
    job = Job("job-1", "sub_1", 0, 0, 0, 0, 2, 0, 0, "zenoo", "case.created", event_id, "acme", "t", 0, 0, 0, b"body")
    due = 1_700_000_300_123 if state == "retry" else None
    response = b"canary-response"
    return Outcome(
        job, state, "status", 503, error, "example.org", 1_700_000_000_000, 184_000, due, response, False, 0, 0
    )


def lines(format_: Format) -> io.StringIO:
    """Configure logging to a text stream, and return it."""
    stream = io.StringIO()
    configure_logging("info", format_, stream)
    return stream


def written(*outcomes: Outcome, as_json: bool, dead_only: bool = False) -> str:
    """Return the text that the outcome log writes."""
    stream = io.BytesIO()
    log = OutcomeLog(stream, as_json, dead_only=dead_only)
    for one in outcomes:
        log.write(one)
    assert stream.getvalue() == b""
    log.flush()
    return stream.getvalue().decode()


def test_log_lines_are_json_without_a_terminal() -> None:
    """If the stream is not a terminal, each line is a JSON object with time, level, event and fields."""
    stream = lines("auto")
    structlog.get_logger("test").info("router.started", partitions=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["partitions"]) == ("router.started", "info", 3)
    assert line["timestamp"].endswith("Z")


def test_text_log_lines_hold_one_event_each() -> None:
    """Text from outside cannot start a new line or colour the terminal."""
    stream = lines("console")
    structlog.get_logger("test").info("router.started", reason="a\nrouter.ended \x1b[31m")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.promise(6)
@pytest.mark.parametrize("format_", ["console", "json"])
def test_traceback_shows_no_values(format_: Format) -> None:
    """Tracebacks show no local variables, which may hold secrets."""
    stream = lines(format_)

    def use(password: str) -> None:
        raise ValueError(f"{len(password)} characters")

    try:
        use("canary-" + "secret")
    except ValueError:
        structlog.get_logger("test").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "canary-secret" not in stream.getvalue()


def test_libraries_log_from_warnings_on() -> None:
    """httpx would log whole URLs at info. Lines of librdkafka go through our logger."""
    stream = lines("json")
    logging.getLogger("httpx").info("GET https://example.org/canary")
    logging.getLogger("other").warning("careful")
    logging.getLogger("signpost.kafka").info("broker is down")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["careful", "broker is down"]


def kafka_line(text: str, at_s: float, level: int = logging.ERROR, logger: str = "signpost.kafka") -> None:
    """Log a line as librdkafka does, at `at_s`."""
    kind, client, rest = text.split(" ", 2)
    record = logging.LogRecord(logger, level, "", 0, "%s [%s] %s", (kind, client, rest), None)
    record.created = at_s
    logging.getLogger(logger).handle(record)


REFUSED = "FAIL rdkafka#consumer-1 127.0.0.1:1: Connection refused"


def test_repeated_broker_errors_are_logged_once_a_minute() -> None:
    """Of equal lines of librdkafka the first one is logged, then one a minute with the number of suppressed lines."""
    stream = lines("json")
    for second in range(150):
        kafka_line(f"{REFUSED} (after {second}ms in state CONNECT)", second)
        kafka_line(f"{REFUSED} (after 0ms in state CONNECT)".replace("consumer-1", f"consumer-{second}"), second)
    written = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert len(written) == 3
    assert "more like it" not in written[0]
    assert [re.findall(r"and (\d+) more", line) for line in written[1:]] == [["119"], ["119"]]


def test_distinct_lines_are_not_suppressed() -> None:
    """Lines about other brokers, other reasons, fatal errors, or of other loggers are not suppressed."""
    stream = lines("json")
    for _ in range(2):
        kafka_line(REFUSED, 0)
        kafka_line(REFUSED.replace("127.0.0.1", "kafka-b"), 0)
        kafka_line(REFUSED.replace("refused", "reset"), 0)
        kafka_line(REFUSED, 0, logging.CRITICAL)
        kafka_line(REFUSED, 0, logger="signpost.kafkaesque")
    assert len(stream.getvalue().splitlines()) == 3 + 2 * 2


def test_properties_of_another_client_type_are_not_logged() -> None:
    """All clients get the configured properties. A warning that some are for producers only is not logged."""
    stream = lines("json")
    text = "Configuration property linger.ms is a producer property and will be ignored by this consumer instance"
    kafka_line(f"CONFWARN rdkafka#consumer-1 [thrd:app]: {text}", 0, logging.WARNING)
    assert stream.getvalue() == ""


def test_outcome_is_one_wide_line() -> None:
    """The line has job, subscription, host, event type, attempt, status, duration and next due time."""
    line = written(outcome(), as_json=False)
    assert line.startswith("2023-11-14T22:13:20.184Z [info     ] delivery.attempted state=retry job=job-1 ")
    facts = (
        "subscription=sub_1 host=example.org sender=zenoo event_type=case.created event_id=evt_1 attempt=2 status=503"
    )
    assert facts in line
    assert line.endswith(" status=503 duration_ms=184 reason=status next_due=2023-11-14T22:18:20.123Z\n")


def test_outcome_in_json_has_the_same_fields() -> None:
    """The JSON line has the same fields as the text line. Neither shows the body or the response."""
    text = written(outcome(), outcome("dead"), as_json=True)
    retry, dead = (json.loads(line) for line in text.splitlines())
    assert (retry["event"], retry["state"], retry["status"]) == ("delivery.attempted", "retry", 503)
    assert (retry["duration_ms"], retry["next_due"]) == (184, "2023-11-14T22:18:20.123Z")
    assert (dead["level"], "next_due" in dead) == ("warning", False)
    assert "canary" not in text + written(outcome(), as_json=False)


def test_traced_outcome_names_its_trace() -> None:
    """With a trace, both forms of the line have its id, by which the trace is found."""
    one = outcome()
    assert "trace_id" not in written(one, as_json=True) + written(one, as_json=False)
    one.trace = TraceContext(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert json.loads(written(one, as_json=True))["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert written(one, as_json=False).endswith(" trace_id=4bf92f3577b34da6a3ce929d0e0e4736\n")


def test_only_dead_jobs_are_logged_above_info() -> None:
    """With a log level above info only outcomes of dead jobs are logged."""
    assert written(outcome(), outcome("delivered"), as_json=True, dead_only=True) == ""
    assert '"state":"dead"' in written(outcome("dead"), as_json=True, dead_only=True)


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)), st.booleans())
def test_any_text_in_an_outcome_stays_on_its_line(event_id: str, error: str, as_json: bool) -> None:
    """An outcome is one line of printable text, whatever text an event or endpoint has sent."""
    text = written(outcome(event_id=event_id, error=error), as_json=as_json)
    assert text.count("\n") == 1
    if as_json:
        assert json.loads(text)["event_id"] == event_id
    else:
        assert text[:-1].isprintable()


def test_failed_log_stream_does_not_stop_deliveries() -> None:
    """A closed pipe or a full disk loses log lines, nothing else."""

    class Gone(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    log = OutcomeLog(Gone(), True)
    log.write(outcome())
    log.flush()

"""The trace of a job in delivery: a span for each attempt, linked to the one before, and headers that carry it on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Message

from consumers.delivery.job_trace import JobTrace, JobTraces
from consumers.delivery.request_builder import build_request
from consumers.kafka.record_headers import headers_of
from schemas.network.egress import Target
from schemas.records.delivery import Job, Outcome
from schemas.records.trace_context import LAST_ATTEMPT, TRACEPARENT, TRACESTATE, TraceContext, job_context_of
from tests.support.spans import SpansInMemory, id_of, links_of, parent_of
from tests.support.tools import job, job_value
from tests.unit.delivery.test_awaited_subscriptions import Delivery
from tests.unit.delivery.test_endpoint import SIGNED, endpoint, header

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROUTER = "00f067aa0ba902b7"
CONTEXT = TraceContext(f"00-{TRACE}-{ROUTER}-01".encode(), b"vendor=1")
UNSAMPLED = TraceContext(CONTEXT.parent[:-1] + b"0")
TARGET = Target("https://hooks.acme.example/", "https", "hooks.acme.example", 443)


def outcome(one: Job, state: str = "delivered", *, status: int | None = 200, error: str | None = None) -> Outcome:
    reason = "" if state == "delivered" else str(status or error or "paused")
    return Outcome(one, cast("Any", state), reason, status, error, TARGET.host, 1_000, 5_000, None, b"", False, 0, 0)


@pytest.fixture
def spans() -> SpansInMemory:
    return SpansInMemory()


def test_attempts_are_siblings_linked_in_order(spans: SpansInMemory) -> None:
    """Each attempt is a child of the router's span, and each but the first is linked to the one before it."""
    context, lines = CONTEXT, []
    for number in (1, 2, 3):
        trace = JobTrace(spans, context)
        one = job(attempt=number)
        lines.append(trace.start(one, TARGET.host, TARGET.port, 1_000))
        following = trace.next_job
        assert trace.attempt == trace.end(outcome(one, *(("retry",) if number < 3 else ()), status=503))
        found = job_context_of(following.headers())
        assert found is not None
        context = found
    first, second, third = spans.ended
    assert [parent_of(span) for span in spans.ended] == [ROUTER] * 3
    assert [links_of(span) for span in spans.ended] == [[], [id_of(first)], [id_of(second)]]
    assert lines == [f"traceparent: 00-{TRACE}-{id_of(span)}-01".encode() for span in spans.ended]
    assert [dict(span.attributes or {}).get("http.request.resend_count") for span in spans.ended] == [None, 1, 2]
    assert context.parent == CONTEXT.parent
    assert third.start_time == 1_000_000_000
    assert third.end_time == 1_005_000_000


def test_span_of_an_attempt_names_its_request(spans: SpansInMemory) -> None:
    """A span has the host of the URL and the ids of the job, and neither path, query nor customer."""
    trace = JobTrace(spans, CONTEXT)
    trace.start(job(), TARGET.host, TARGET.port, 1_000)
    trace.end(outcome(job(), "retry", status=None, error="refused"))
    (span,) = spans.ended
    assert span.name == "POST"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "server.address": "hooks.acme.example",
        "server.port": 443,
        "signpost.sender": "zenoo",
        "signpost.event_type": "case.created",
        "signpost.event_id": "evt_1",
        "signpost.job_id": "job-1",
        "signpost.subscription_id": "sub-1",
        "signpost.run": 0,
        "signpost.attempt": 1,
        "signpost.state": "retry",
        "signpost.reason": "refused",
        "error.type": "refused",
    }
    assert not span.status.is_ok


def test_withdrawn_attempt_leaves_no_span(spans: SpansInMemory) -> None:
    """A request that was never sent is no attempt: the job moves on with the headers that it had."""
    trace = JobTrace(spans, replace(CONTEXT, last_attempt=b"1111111111111111"))
    trace.start(job(attempt=2), TARGET.host, TARGET.port, 1_000)
    trace.withdraw()
    assert trace.attempt.span_id == ROUTER.encode()
    assert dict(trace.headers) == {
        TRACEPARENT: CONTEXT.parent,
        TRACESTATE: b"vendor=1",
        LAST_ATTEMPT: b"1111111111111111",
    }
    assert trace.next_job.headers() == trace.headers
    assert spans.ended == ()


def test_job_that_ends_without_an_attempt_has_a_span(spans: SpansInMemory) -> None:
    """The trace of a cancelled job shows why nothing was sent."""
    trace = JobTrace(spans, CONTEXT)
    context = trace.end(outcome(job(), "cancelled", status=None))
    (span,) = spans.ended
    assert (span.name, parent_of(span)) == ("end job", ROUTER)
    assert dict(span.attributes or {})["signpost.reason"] == "paused"
    assert span.status.is_unset
    assert context.span_id.decode() == id_of(span)


def test_unsampled_trace_is_passed_on_unchanged(spans: SpansInMemory) -> None:
    """Without the flag nothing is recorded, and endpoint and records get the header of the event."""
    trace = JobTrace(spans, UNSAMPLED)
    assert trace.start(job(), TARGET.host, TARGET.port, 1_000) == b"traceparent: " + UNSAMPLED.parent
    assert trace.next_job == UNSAMPLED
    ended = outcome(job())
    ended.trace = trace.end(ended)
    assert ended.trace == UNSAMPLED
    assert ended.trace_id is None
    assert spans.ended == ()


def test_outcome_gives_the_id_of_its_trace(spans: SpansInMemory) -> None:
    """Metrics get the id of a recorded trace as text, and None without one."""
    ended = outcome(job())
    assert ended.trace_id is None
    trace = JobTrace(spans, CONTEXT)
    trace.start(job(), TARGET.host, TARGET.port, 1_000)
    ended.trace = trace.end(ended)
    assert ended.trace_id == TRACE


@pytest.mark.parametrize(
    ("context", "logged", "exemplar"), [(None, None, None), (CONTEXT, TRACE, TRACE), (UNSAMPLED, TRACE, None)]
)
def test_exemplars_name_only_recorded_traces(
    spans: SpansInMemory, context: TraceContext | None, logged: str | None, exemplar: str | None
) -> None:
    """A line of the log has the id of any trace. An exemplar of a trace that nobody recorded would lead nowhere."""
    delivery = Delivery()
    handler: Any = delivery.scheduler._handler
    lines: list[str | None] = []
    exemplars: list[str | None] = []
    handler._outcome_log = SimpleNamespace(write=lambda _outcome, trace_id: lines.append(trace_id))
    handler._metrics = SimpleNamespace(on_outcome=lambda _outcome, _limited, trace_id: exemplars.append(trace_id))
    task = delivery.scheduler._ready[0]
    task.trace = None if context is None else JobTrace(spans, context)
    handler.cancel(task, "paused", TARGET.host, 1_000)
    assert (lines, exemplars) == ([logged], [exemplar])


class Record:
    """A record of a job whose headers were asked for `asked` times."""

    def __init__(self, *headers: tuple[str, bytes | None]) -> None:
        self._headers = headers
        self.asked = 0

    def offset(self) -> int:
        return 0

    def value(self) -> bytes:
        return job_value(job())

    def headers(self) -> list[tuple[str, bytes | None]]:
        self.asked += 1
        return list(self._headers)


def test_client_that_cannot_return_headers_counts_as_none() -> None:
    """A header whose name is not UTF-8 must not stop a role."""

    def headers() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")

    assert headers_of(SimpleNamespace(headers=headers)) == ()


@pytest.mark.parametrize("is_traced", [False, True])
def test_headers_are_read_only_with_traces(spans: SpansInMemory, is_traced: bool) -> None:
    """Without traces delivery never calls the client for the headers of a record."""
    delivery = Delivery()
    scheduler = delivery.scheduler
    scheduler._traces = JobTraces(spans) if is_traced else None
    record = Record((TRACEPARENT, CONTEXT.parent))
    partition = scheduler._ready[0].partition
    scheduler.add([cast("Any", (partition, record))], 1_000)
    task = scheduler._ready[-1]
    assert record.asked == int(is_traced)
    assert (task.trace is not None) == is_traced


@pytest.mark.parametrize("headers", [(), ((TRACEPARENT, b"forged\r\nX: y"),), ((TRACEPARENT, CONTEXT.parent),) * 2])
def test_job_without_a_valid_context_has_no_trace(spans: SpansInMemory, headers: tuple[tuple[str, bytes], ...]) -> None:
    """Delivery begins no trace, and ignores hostile headers on records of jobs."""
    assert JobTraces(spans).of(cast("Message", Record(*headers))) is None


@pytest.fixture
def task() -> Any:
    """A task of a scheduler, with its partition."""
    return Delivery().scheduler._ready[0]


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("sender", "headers", "is_sent"),
    [
        ("standard", (), True),
        ("standard", ("Traceparent",), False),
        ("zenoo", (), False),
        ("diligent", (), False),
        ("riskos", (), False),
        ("onboarding", (), False),
    ],
)
def test_only_senders_that_allow_it_send_the_header(
    spans: SpansInMemory, task: Any, sender: str, headers: tuple[str, ...], is_sent: bool
) -> None:
    """Requests of documented products stay byte for byte. A subscription's own header has precedence."""
    own = tuple(header(name, "own") for name in headers)
    secrets = () if sender in ("standard", "riskos", "onboarding") else SIGNED.secrets
    found = endpoint(replace(SIGNED, sender=sender, secrets=secrets, headers=own))
    task.trace = JobTrace(spans, CONTEXT)
    request = build_request(task, found, TARGET, 1_000)
    lines = [line for line in request.headers if line.lower().startswith(b"traceparent")]
    assert lines == ([task.trace.attempt.request_line()] if is_sent else [b"Traceparent: own"] * len(headers))
    assert task.trace.attempt.span_id != ROUTER.encode()  # the span exists in any case
    without = build_request_without(task, found)
    assert [line for line in request.headers if line not in lines] == [line for line in without if line not in lines]


def build_request_without(task: Any, found: Any) -> list[bytes]:
    """Return the header lines of the same request without a trace."""
    trace, task.trace = task.trace, None
    try:
        return build_request(task, found, TARGET, 1_000).headers
    finally:
        task.trace = trace

"""Spans of the router: one for each event, whose jobs carry its context."""

from __future__ import annotations

from typing import Any, cast

import pytest

from consumers.kafka.dead_letters import SourceRecord
from consumers.router.event_traces import EventTraces
from consumers.router.loop import RouterLoop
from consumers.router.routing import Decision, Routed, Routing, UnreadableEvent
from schemas.records.trace_context import TRACEPARENT, TRACESTATE
from tests.support.spans import SpansInMemory, id_of, parent_of
from tests.unit.router.test_router_turns import World

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
EVENT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{EVENT}-01".encode()
UNREADABLE = UnreadableEvent("zenoo", "truncated", "the record ends early", (None, b"letter"))


def routed(jobs: int) -> Routed:
    return Routed("zenoo", "case.created", iter(()), jobs, 0)


class Event:
    """A record of an event topic."""

    def __init__(self, *headers: tuple[str, bytes]) -> None:
        self._headers = list(headers)

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7


class Traced:
    """The traces of a router whose clock counts its calls."""

    def __init__(self) -> None:
        self.spans = SpansInMemory()
        self.now_ns = 0
        self.traces = EventTraces(self.spans, self._clock_ns)

    def _clock_ns(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def route(self, decision: Decision, *headers: tuple[str, bytes]) -> Any:
        """Route an event and send its records; return their headers."""
        record = cast("SourceRecord", Event(*headers))

        def decide(_: SourceRecord) -> Routing:
            return decision

        assert self.traces.timed(decide)(record) is decision
        found = self.traces.start(record, decision)
        self.traces.end()
        return found


@pytest.fixture
def traced() -> Traced:
    return Traced()


def test_jobs_carry_the_span_of_their_event(traced: Traced) -> None:
    """The span is a child of the event's, and jobs get its context and the data of vendors."""
    headers = traced.route(routed(2), (TRACEPARENT, VALID), (TRACESTATE, b"vendor=1"))
    (span,) = traced.spans.ended
    assert headers == [(TRACEPARENT, f"00-{TRACE}-{id_of(span)}-01".encode()), (TRACESTATE, b"vendor=1")]
    assert (span.name, parent_of(span)) == ("route events", EVENT)
    assert (span.start_time, span.end_time) == (1_000, 2_000)
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "route",
        "messaging.operation.type": "process",
        "messaging.destination.name": "events",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 7,
        "signpost.sender": "zenoo",
        "signpost.event_type": "case.created",
        "signpost.jobs": 2,
    }


def test_event_without_a_context_begins_a_trace_if_it_has_jobs(traced: Traced) -> None:
    """A new trace leads to a delivery. Events that nobody takes would only fill the collector."""
    assert traced.route(routed(0)) is None
    assert traced.route(UNREADABLE) is None
    assert traced.spans.ended == ()
    headers = traced.route(routed(1))
    (span,) = traced.spans.ended
    assert parent_of(span) == ""
    assert headers[0][1].endswith(f"-{id_of(span)}-03".encode())  # sampled, with a random trace id


def test_event_of_a_trace_is_recorded_without_jobs(traced: Traced) -> None:
    """Those who follow their trace see that nobody took the event."""
    traced.route(routed(0), (TRACEPARENT, VALID))
    (span,) = traced.spans.ended
    assert dict(span.attributes or {})["signpost.jobs"] == 0


def test_unreadable_event_is_an_error(traced: Traced) -> None:
    """The dead letter carries the span with the reason."""
    headers = traced.route(UNREADABLE, (TRACEPARENT, VALID))
    (span,) = traced.spans.ended
    assert id_of(span).encode() in headers[0][1]
    assert not span.status.is_ok
    assert dict(span.attributes or {})["error.type"] == "truncated"


@pytest.mark.parametrize("value", [VALID[:-2] + b"00", VALID[:-2] + b"02"])
def test_unsampled_context_is_passed_on_unchanged(traced: Traced, value: bytes) -> None:
    """Jobs of an event whose trace is not recorded carry the header of the event."""
    assert traced.route(routed(1), (TRACEPARENT, value)) == [(TRACEPARENT, value)]
    assert traced.spans.ended == ()


def test_partial_send_ends_once(traced: Traced) -> None:
    """An event that was given up, such as at a rebalance, leaves no span."""
    record = cast("SourceRecord", Event((TRACEPARENT, VALID)))
    traced.traces.start(record, routed(1))
    assert traced.route(routed(1), (TRACEPARENT, VALID))
    traced.traces.end()
    assert len(traced.spans.ended) == 1


class AskedWorld(World):
    """A router whose records count how often their headers are asked for."""

    asked = 0

    def read(self, seconds: float, limit: int) -> list[Any]:
        records = super().read(seconds, limit)
        for record in records:
            record.headers = self._headers
        return records

    def _headers(self) -> list[tuple[str, bytes]]:
        self.asked += 1
        return [(TRACEPARENT, VALID)]


@pytest.mark.parametrize("is_traced", [False, True])
def test_router_reads_headers_only_with_traces(
    traced: Traced, is_traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without traces the router never calls the client for the headers of an event."""
    monkeypatch.setattr(RouterLoop, "_observe", lambda _self: None)
    world = AskedWorld(events=3, jobs=2, commit_s=0.003)
    assert world.loop._traces is None
    if is_traced:
        world.loop._traces = traced.traces
    world.turns(0.5)
    assert world.sent == 6
    assert world.asked == len(traced.spans.ended) == 3 * is_traced

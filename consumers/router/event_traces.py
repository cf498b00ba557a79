"""Spans of the router: one for each event, from its decoding until its records are sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeAlias

from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.record_headers import headers_of
from consumers.router.routing import Decision, Routed, Routing
from consumers.service.spans import Span, Spans, record_attributes
from schemas.records.trace_context import RecordHeaders, context_of

Route: TypeAlias = Callable[[SourceRecord], Routing]
_OPERATION: Final = "route"


class EventTraces:
    """The trace of the event whose records the router sends: it sends those of one event at a time.

    The span of an event is a child of the span in its headers. If the headers have no valid span and the event has
    jobs, the span begins a trace.
    """

    def __init__(self, spans: Spans, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._spans = spans
        self._clock_ns = clock_ns
        self._started_ns = 0
        self._span: Span | None = None
        self._error: str | None = None

    def timed(self, route: Route) -> Route:
        """Return a function that routes a record and notes when it began."""

        def timed(record: SourceRecord) -> Routing:
            self._started_ns = self._clock_ns()
            return route(record)

        return timed

    def start(self, record: SourceRecord, decision: Decision) -> RecordHeaders | None:
        """Start the span of an event. Return the headers of its jobs or dead letter, None if it has no trace."""
        self._span = None
        parent = context_of(headers_of(record))
        if parent is None and (not isinstance(decision, Routed) or not decision.count):
            return None  # no trace without a delivery
        topic = record.topic()
        attributes = record_attributes(_OPERATION, topic, record.partition(), record.offset())
        attributes["signpost.sender"] = decision.sender
        if isinstance(decision, Routed):
            attributes["signpost.event_type"] = decision.event_type
            attributes["signpost.jobs"] = decision.count
            self._error = None
        else:
            self._error = decision.reason
        self._span = self._spans.start(
            f"{_OPERATION} {topic}", "consumer", self._started_ns, parent=parent, attributes=attributes
        )
        if self._span is not None:
            return self._span.context.headers()
        return None if parent is None else parent.headers()  # not sampled: passed on unchanged

    def end(self) -> None:
        """End the span of the event: all its records are sent."""
        if self._span is not None:
            self._span.end(self._clock_ns(), {}, self._error)
            self._span = None

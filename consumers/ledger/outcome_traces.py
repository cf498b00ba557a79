"""Spans of the ledger: one for each outcome with a sampled trace, from its reading until it is in the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.record_headers import headers_of
from consumers.ledger.rows import Attempt
from consumers.service.spans import Span, Spans, record_attributes
from schemas.records.trace_context import context_of

_OPERATION: Final = "record"


class OutcomeTraces:
    """The spans of the outcomes that were read and are not in the database yet. Each is a child of its attempt."""

    def __init__(self, spans: Spans, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._spans = spans
        self._clock_ns = clock_ns
        self._open: list[Span] = []

    def on_read(self, record: SourceRecord, attempt: Attempt) -> None:
        """Start the span of an outcome that was read."""
        parent = context_of(headers_of(record))
        if parent is None:
            return
        attributes = record_attributes(_OPERATION, record.topic(), record.partition(), record.offset())
        attributes["signpost.job_id"] = attempt.job_id
        attributes["signpost.state"] = attempt.state
        name = f"{_OPERATION} {record.topic()}"
        span = self._spans.start(name, "consumer", self._clock_ns(), parent=parent, attributes=attributes)
        if span is not None:
            self._open.append(span)

    def on_written(self) -> None:
        """End the spans of all outcomes that were read: they are in the database."""
        if self._open:
            now_ns = self._clock_ns()
            for span in self._open:
                span.end(now_ns, {})
            self.forget()

    def forget(self) -> None:
        """Forget the outcomes that were read: they are read again."""
        self._open = []

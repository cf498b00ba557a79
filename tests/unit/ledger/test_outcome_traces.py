"""Spans of the ledger: one for each outcome of a sampled trace, from its reading until it is in the database."""

from __future__ import annotations

from typing import Any, cast

import pytest

from consumers.kafka.dead_letters import SourceRecord
from consumers.ledger.outcome_traces import OutcomeTraces
from schemas.records.trace_context import TRACEPARENT
from tests.support.spans import SpansInMemory, parent_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ATTEMPT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{ATTEMPT}-01".encode()


class Outcome:
    """A record of `outcomes`."""

    def __init__(self, *headers: tuple[str, bytes]) -> None:
        self._headers = list(headers)

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers or None

    def topic(self) -> str:
        return "outcomes"

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 7


class Row:
    """The row of an outcome, as far as a span shows it."""

    job_id = "job-1"
    state = "delivered"


class Traced:
    """The traces of a ledger whose clock counts its calls."""

    def __init__(self) -> None:
        self.spans = SpansInMemory()
        self.now_ns = 0
        self.traces = OutcomeTraces(self.spans, self._clock_ns)

    def _clock_ns(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def read(self, *headers: tuple[str, bytes]) -> None:
        self.traces.on_read(cast("SourceRecord", Outcome(*headers)), cast("Any", Row()))


@pytest.fixture
def traced() -> Traced:
    return Traced()


def test_outcomes_of_a_batch_end_together(traced: Traced) -> None:
    """Each outcome has a span, a child of its attempt, that ends when the batch is written."""
    traced.read((TRACEPARENT, VALID))
    traced.read((TRACEPARENT, VALID))
    assert traced.spans.ended == ()
    traced.traces.on_written()
    first, second = traced.spans.ended
    assert (first.name, parent_of(first), parent_of(second)) == ("record outcomes", ATTEMPT, ATTEMPT)
    assert [(span.start_time, span.end_time) for span in (first, second)] == [(1_000, 3_000), (2_000, 3_000)]
    assert dict(first.attributes or {})["signpost.job_id"] == "job-1"
    traced.traces.on_written()
    assert len(traced.spans.ended) == 2


@pytest.mark.parametrize("headers", [(), ((TRACEPARENT, b"forged"),), ((TRACEPARENT, VALID[:-1] + b"0"),)])
def test_outcome_without_a_sampled_trace_has_no_span(traced: Traced, headers: tuple[tuple[str, bytes], ...]) -> None:
    """The ledger begins no trace."""
    traced.read(*headers)
    traced.traces.on_written()
    assert traced.spans.ended == ()


def test_outcomes_that_are_read_again_have_one_span(traced: Traced) -> None:
    """After a rebalance or a lost database transaction only the written batch counts."""
    traced.read((TRACEPARENT, VALID))
    traced.traces.forget()
    traced.read((TRACEPARENT, VALID))
    traced.traces.on_written()
    assert len(traced.spans.ended) == 1

"""Spans as roles use them. `opentelemetry_spans.py` implements them, and only that module imports OpenTelemetry.

A role without traces has no `Spans`, so it imports nothing and starts nothing. Names and attributes follow the semantic
conventions of OpenTelemetry for HTTP and messaging; attributes of our own begin with `signpost.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

from schemas.records.trace_context import TraceContext

SpanKind: TypeAlias = Literal["client", "consumer", "internal"]
Attributes: TypeAlias = Mapping[str, str | int]


class Span(Protocol):
    """A span that has started. One that never ends is not exported."""

    @property
    def context(self) -> TraceContext:
        """The span and its trace, for records and requests that it causes."""
        ...

    def end(self, end_ns: int, attributes: Attributes, error: str | None = None) -> None:
        """End the span at a Unix time in ns; `error` is the kind of failure."""
        ...


class Spans(Protocol):
    """Starts the spans of a process. No call blocks."""

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
        """Start a span at a Unix time in ns; None if its trace is not sampled.

        Without a parent it begins a trace. `previous` is the id of a span of the same trace to link to, or empty.
        """
        ...


def record_attributes(operation: str, topic: str, partition: int, offset: int) -> dict[str, str | int]:
    """Return the attributes of a span that processes one Kafka record."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }

"""W3C trace context in the headers of Kafka records: https://www.w3.org/TR/trace-context/. Pure.

Headers come from other programs. Only a value that matches the grammar is accepted, so none can forge a header line of
a request. An invalid `traceparent` counts as absent, and so does one that occurs twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
# Only on records of jobs that had an attempt: the id of its span, to which the next attempt is linked.
LAST_ATTEMPT: Final = "signpost-last-attempt"

RecordHeaders: TypeAlias = list[tuple[str, str | bytes | None]]
"""Headers as the Kafka client takes them."""

_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# Later versions may append fields. `ff` is no version.
_PARENT: Final = re.compile(rb"00%b|(?!00|ff)[0-9a-f]{2}%b(?:-[\x21-\x7e]{0,200})?" % (_IDS, _IDS)).fullmatch
_FLAGS_AT: Final = 53
_LENGTH: Final = 55
# Sampled, and random trace id. Others have no meaning yet and must not be passed on.
_KNOWN_FLAGS: Final = 0b11
_SAMPLED: Final = 0b01
# Exactly the grammar of the recommendation: OpenTelemetry logs each value that does not match it, with every span.
_KEY: Final = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE: Final = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = rb"%b=%b" % (_KEY, _VALUE)
_STATE: Final = re.compile(rb"%b(?:[ \t]*,[ \t]*%b){0,31}" % (_MEMBER, _MEMBER)).fullmatch
_MAX_STATE: Final = 512
_SPAN_ID: Final = re.compile(rb"(?!0{16})[0-9a-f]{16}").fullmatch


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span and its trace. `parent` is a valid `traceparent` of version 00, `state` a valid `tracestate` or empty.

    `last_attempt` is the span id of the last attempt of a job, empty before the first one.
    """

    parent: bytes
    state: bytes = b""
    last_attempt: bytes = b""

    @property
    def trace_id(self) -> str:
        """The id of the trace: 32 hexadecimal digits."""
        return self.parent[3:35].decode()

    @property
    def span_id(self) -> bytes:
        """The id of the span: 16 hexadecimal digits."""
        return self.parent[36:52]

    @property
    def flags(self) -> int:
        """The trace flags."""
        return int(self.parent[_FLAGS_AT:], 16)

    @property
    def is_sampled(self) -> bool:
        """Whether the spans of the trace are recorded."""
        return bool(self.flags & _SAMPLED)

    def pairs(self) -> tuple[tuple[str, bytes], ...]:
        """Return the headers that carry this context."""
        pairs = [(TRACEPARENT, self.parent)]
        if self.state:
            pairs.append((TRACESTATE, self.state))
        if self.last_attempt:
            pairs.append((LAST_ATTEMPT, self.last_attempt))
        return tuple(pairs)

    def headers(self) -> RecordHeaders:
        """Return the same for the Kafka client."""
        return list(self.pairs())

    def request_line(self) -> bytes:
        """Return the header line for a request to an endpoint."""
        return b"traceparent: " + self.parent


def context_of(headers: Iterable[tuple[str, object]]) -> TraceContext | None:
    """Return the context in the headers of an event or outcome; None if there is no valid one."""
    parent: bytes | None = None
    parents, states = 0, 0
    state = b""
    for name, value in headers:
        if name == TRACEPARENT:
            parents += 1
            parent = _accepted_parent(_bytes_of(value))
        elif name == TRACESTATE:
            states += 1
            state = _accepted_state(_bytes_of(value))
    if parent is None or parents != 1:
        return None
    return TraceContext(parent, state if states == 1 else b"")


def job_context_of(headers: Iterable[tuple[str, object]]) -> TraceContext | None:
    """Return the context in the headers of a job, with its last attempt; None if there is no valid one."""
    headers = tuple(headers)
    context = context_of(headers)
    if context is None:
        return None
    attempts = [_bytes_of(value) for name, value in headers if name == LAST_ATTEMPT]
    if len(attempts) != 1 or not _SPAN_ID(attempts[0]):
        return context
    return replace(context, last_attempt=attempts[0])


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _accepted_parent(value: bytes) -> bytes | None:
    """Return a `traceparent` of version 00 with the known flags; None if the value is invalid."""
    if _PARENT(value) is None:
        return None
    flags = int(value[_FLAGS_AT:_LENGTH], 16) & _KNOWN_FLAGS
    return b"00%b%02x" % (value[2:_FLAGS_AT], flags)


def _accepted_state(value: bytes) -> bytes:
    """Return a `tracestate`; empty if it is invalid or longer than every program has to pass on."""
    return value if len(value) <= _MAX_STATE and _STATE(value) else b""

"""W3C trace contexts in record headers: valid ones are read, and no other value goes on to a request."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records.trace_context import (
    LAST_ATTEMPT,
    TRACEPARENT,
    TRACESTATE,
    TraceContext,
    context_of,
    job_context_of,
)

pytestmark = pytest.mark.promise(5)

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)
LINE = re.compile(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]")
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "short": VALID[:-1],
    "long": VALID + b"0",
    "more fields in version 00": VALID + b"-00",
    "upper case": VALID.upper(),
    "no version": b"ff" + VALID[2:],
    "letters": b"0g" + VALID[2:],
    "no trace": b"00-%b-%b-01" % (b"0" * 32, SPAN),
    "no span": b"00-%b-%b-01" % (TRACE, b"0" * 16),
    "underscores": VALID.replace(b"-", b"_"),
    "leading space": b" " + VALID,
    "trailing space": VALID + b" ",
    "line feed": VALID + b"\n",
    "new header": VALID + b"\r\nX-Forged: 1",
    "new header in a later version": b"01" + VALID[2:] + b"-a\r\nX-Forged: 1",
    "header inside": VALID[:36] + b"\r\nHost: evil" + VALID[48:],
    "NUL": VALID[:10] + b"\0" + VALID[11:],
    "full-width digits": "\uff10\uff10".encode() + VALID[2:],
    "not UTF-8": b"\xff\xfe" + VALID,
    "huge": VALID * 20_000,
    "huge in a later version": b"01" + VALID[2:] + b"-" + b"a" * 1_000_000,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_traceparent_counts_as_absent(value: bytes) -> None:
    """A value that is not exactly a traceparent gives no context."""
    assert context_of([(TRACEPARENT, value)]) is None


@pytest.mark.parametrize("value", [None, "00-" + "1" * 32, 7])
def test_header_without_bytes_counts_as_absent(value: object) -> None:
    """A Kafka header can be null."""
    assert context_of([(TRACEPARENT, value)]) is None


def test_repeated_traceparent_counts_as_absent() -> None:
    """With two values, nobody knows which one is right, even if they are equal."""
    assert context_of([(TRACEPARENT, VALID), (TRACEPARENT, VALID)]) is None
    assert context_of([(TRACEPARENT, VALID), (TRACEPARENT, b"")]) is None
    assert context_of([(TRACEPARENT, b""), (TRACEPARENT, VALID)]) is None
    assert context_of([(TRACEPARENT, VALID)] * 10_000) is None


def test_valid_context_is_read() -> None:
    """A context has trace, span, sampling and tracestate, and gives the same headers again."""
    headers = [("other", b"x"), (TRACESTATE, b"vendor=a b, t@v=1"), (TRACEPARENT, VALID)]
    context = context_of(headers)
    assert context == TraceContext(VALID, b"vendor=a b, t@v=1")
    assert (context.trace_id, context.span_id, context.is_sampled) == (TRACE.decode(), SPAN, True)
    assert context.headers() == [(TRACEPARENT, VALID), (TRACESTATE, b"vendor=a b, t@v=1")]
    assert context.request_line() == b"traceparent: " + VALID
    unsampled = context_of([(TRACEPARENT, VALID[:-1] + b"0")])
    assert unsampled is not None
    assert not unsampled.is_sampled


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        (VALID[:-2] + b"ff", VALID[:-2] + b"03"),
        (VALID[:-2] + b"fc", VALID[:-2] + b"00"),
        (b"01" + VALID[2:], VALID),
        (b"fe" + VALID[2:] + b"-what-the-future-brings", VALID),
    ],
)
def test_later_versions_and_unknown_flags_are_reduced(given_: bytes, wanted: bytes) -> None:
    """The specification defines how a reader of version 00 reads later versions. Unknown flags are not passed on."""
    context = context_of([(TRACEPARENT, given_)])
    assert context is not None
    assert context.parent == wanted


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"=",
        b"a",
        b"a=",
        b"A=b",
        b"a=b,",
        b"a=b,,c=d",
        b"1a=b",
        b"a@1b=c",
        b"a@@b=c",
        b"a@b@c=d",
        b"a@" + b"b" * 15 + b"=c",
        b"a=b;c",
        b"a=b\r\nX: y",
        b"a=\xc3\xa9",
        b"a=b\0",
        b"a=" + b"x" * 511,
        b",".join(b"k%d=v" % number for number in range(33)),
    ],
)
def test_invalid_tracestate_is_dropped_alone(state: bytes) -> None:
    """The trace goes on without the data of vendors; `a=b;c` is valid and kept."""
    context = context_of([(TRACEPARENT, VALID), (TRACESTATE, state)])
    assert context is not None
    assert context.state == (state if state == b"a=b;c" else b"")


def test_repeated_tracestate_is_dropped() -> None:
    """Two headers could exceed every limit together."""
    context = context_of([(TRACEPARENT, VALID), (TRACESTATE, b"a=b"), (TRACESTATE, b"c=d")])
    assert context == TraceContext(VALID)


@pytest.mark.parametrize("value", [b"", b"0" * 16, SPAN.upper(), SPAN + b"\n", SPAN * 2, b"\r\nX: y", None])
def test_hostile_last_attempt_is_dropped(value: bytes | None) -> None:
    """Only a span id links an attempt to the one before it."""
    assert job_context_of([(TRACEPARENT, VALID), (LAST_ATTEMPT, value)]) == TraceContext(VALID)


def test_last_attempt_is_read_from_jobs_only() -> None:
    """The header belongs to jobs: on an event it means nothing."""
    headers = [(TRACEPARENT, VALID), (LAST_ATTEMPT, SPAN)]
    context = job_context_of(headers)
    assert context == TraceContext(VALID, b"", SPAN)
    assert context.headers() == headers
    assert context_of(headers) == TraceContext(VALID)


@given(st.lists(st.tuples(st.sampled_from([TRACEPARENT, TRACESTATE, LAST_ATTEMPT, "x"]), st.binary(max_size=80))))
def test_any_headers_give_a_valid_line_or_none(headers: list[tuple[str, bytes]]) -> None:
    """Whatever headers contain, a request gets one well-formed line or none."""
    context = job_context_of(headers)
    if context is not None:
        assert LINE.fullmatch(context.request_line())


@given(st.binary(max_size=12), st.integers(0, 55), st.integers(0, 12))
def test_changed_traceparent_gives_a_valid_line_or_none(inserted: bytes, at: int, removed: int) -> None:
    """The same holds for values that are nearly valid."""
    context = context_of([(TRACEPARENT, VALID[:at] + inserted + VALID[at + removed :])])
    if context is not None:
        assert LINE.fullmatch(context.request_line())

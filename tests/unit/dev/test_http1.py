"""The receiver reads HTTP/1.1 (RFC 9112) in pieces of any size."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.dev.http1 import MAX_HEAD, BadRequest, RequestReader, parse_head

FIRST = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Zenoo-Signature:  sha256=00 \r\ncontent-LENGTH: 5\r\n\r\nhello"
SECOND = b"GET / HTTP/1.0\r\nHost: y\r\n\r\n"


def requests_of(pieces: list[bytes]) -> list[tuple[str, str, bytes]]:
    reader = RequestReader(max_body=100)
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next_request()) is not None:
            found.append((request[0].method, request[0].path, request[1]))
    return found


@given(st.lists(st.integers(0, len(FIRST + SECOND)), max_size=20))
def test_requests_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    """Any split of the bytes gives the same requests."""
    stream = FIRST + SECOND
    bounds = [0, *sorted(cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(bounds)]

    assert requests_of(pieces) == [("POST", "/a?b=c", b"hello"), ("GET", "/", b"")]


def test_headers_keep_order_and_spelling() -> None:
    """Names and values are kept as sent, without the white space around a value."""
    head = parse_head(FIRST.partition(b"\r\n\r\n")[0])

    assert head.headers == (("Host", "x"), ("X-Zenoo-Signature", "sha256=00"), ("content-LENGTH", "5"))
    assert head.length == 5


@pytest.mark.parametrize(
    ("line", "keeps"),
    [("HTTP/1.1\r\nA: b", True), ("HTTP/1.1\r\nConnection: x, Close", False), ("HTTP/1.0\r\nA: b", False)],
)
def test_keep_alive_follows_the_http_version(line: str, keeps: bool) -> None:
    """HTTP/1.1 keeps a connection unless a header closes it; HTTP/1.0 closes it."""
    assert parse_head(f"GET / {line}".encode()).keep_alive is keeps


def test_expect_continue_is_answered_once() -> None:
    """`Expect: 100-continue` gets one interim response, before the body."""
    reader = RequestReader(max_body=100)
    reader.feed(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert reader.next_request() is None

    assert [reader.wants_continue(), reader.wants_continue()] == [True, False]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nspace : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\ny\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
        (b"x" * (MAX_HEAD + 1), 431),
    ],
)
def test_malformed_request_is_refused(sent: bytes, status: int) -> None:
    """Each malformed request gives one error with its response status."""
    with pytest.raises(BadRequest) as refused:
        requests_of([sent])

    assert refused.value.status == status


@given(st.binary(max_size=300))
def test_any_bytes_give_a_request_or_bad_request(sent: bytes) -> None:
    """Any bytes are a request, the beginning of one, or a BadRequest."""
    with contextlib.suppress(BadRequest):
        requests_of([sent, b"\r\n\r\n"])

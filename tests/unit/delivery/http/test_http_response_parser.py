"""The response parser: any packet boundaries, limits, and the fast path."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.delivery.http.response_parser import BadResponse, ResponseParser, TooLarge, parse_complete_response
from consumers.delivery.http.types import MAX_BODY_KEPT, MAX_BODY_READ, MAX_HEADERS

pytestmark = pytest.mark.promise(5)

NAMES = st.sampled_from([b"Server", b"X-A", b"Date", b"Connection-Id", b"X-Content-Length"])
VALUES = st.sampled_from([b"", b"x", b"keep-alive", b"close", b"a: b", b"7"])
LENGTH, CHUNKED, UNTIL_CLOSE = "length", "chunked", "until close"


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, int, bytes, str, bool]:
    """A valid response: bytes, status, body, how its end is framed, and whether the connection stays open."""
    newline = draw(st.sampled_from([b"\r\n", b"\n"]))
    status = draw(st.sampled_from([200, 201, 204, 302, 404, 410, 429, 500, 503, 999]))
    body = draw(st.binary(max_size=300))
    framing = draw(st.sampled_from([LENGTH, CHUNKED, UNTIL_CLOSE]))
    lines = [name + b": " + value for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))]
    closes = draw(st.booleans())
    if closes:
        lines.append(draw(st.sampled_from([b"Connection: close", b"connection: Keep-Alive, CLOSE"])))
    if framing == LENGTH:
        lines.append(
            draw(st.sampled_from([b"Content-Length: %d", b"content-length:%d", b"CONTENT-LENGTH:  %d "])) % len(body)
        )
    elif framing == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    interim = b"HTTP/1.1 103 Early" + newline + b"Link: x" + newline * 2
    head = newline.join([b"HTTP/1.1 %d Said" % status, *draw(st.permutations(lines))]) + newline * 2
    sent = body
    if status == 204:
        body = sent = b""
    elif framing == CHUNKED:
        cut = draw(st.integers(0, len(body)))
        chunks = [chunk for chunk in (body[:cut], body[cut:]) if chunk]
        sent = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Trailer: t\r\n\r\n"
    return interim * draw(st.integers(0, 2)) + head + sent, status, body, framing, closes


@given(responses(), st.data())
@settings(max_examples=300, deadline=None)
def test_response_parsing_does_not_depend_on_packet_boundaries(
    response: tuple[bytes, int, bytes, str, bool], data: st.DataObject
) -> None:
    """Status, body and whether the connection is reused do not depend on how the network cuts the bytes."""
    sent, status, body, framing, closes = response
    cuts = sorted(data.draw(st.lists(st.integers(1, max(1, len(sent) - 1)), max_size=6)))
    reader, over = ResponseParser(), False
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        if sent[start:end]:
            assert not over
            over = reader.feed(sent[start:end])
    ends_by_itself = status == 204 or framing != UNTIL_CLOSE
    assert over is ends_by_itself
    assert over or reader.feed(b"")
    assert (reader.status, reader.body, reader.cut) == (status, body, False)
    assert reader.keep_alive is (ends_by_itself and not closes)


@given(responses())
@settings(max_examples=300, deadline=None)
def test_fast_path_and_parser_agree(response: tuple[bytes, int, bytes, str, bool]) -> None:
    """The fast path recognises complete 2xx responses that keep their connection, and finds what the parser finds."""
    sent, status, body, framing, closes = response
    found = parse_complete_response(sent)
    if found is not None:
        assert (found[0], sent[found[1] :]) == (status, body)
        assert 200 <= status < 300
        assert not closes
        assert framing == LENGTH or status == 204
    assert parse_complete_response(sent + b"x") is None


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nServer: nginx\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 202 \r\ncontent-length:0\r\n\r\n",
    ],
)
def test_usual_response_takes_the_fast_path(response: bytes) -> None:
    """The responses of nearly all endpoints take the fast path, and an incomplete response never does."""
    assert parse_complete_response(response) is not None
    assert not any(parse_complete_response(response[:end]) for end in range(len(response)))


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_or_incomplete(rubbish: bytes) -> None:
    """The parser refuses random bytes or waits for more, and keeps no more than its limits allow."""
    reader = ResponseParser()
    try:
        over = reader.feed(b"HTTP/1.1 200 OK\r\n" + rubbish)
    except (BadResponse, TooLarge):
        return
    assert over or not reader.keep_alive
    assert len(reader.body) <= MAX_BODY_KEPT


def test_header_and_body_limits_hold() -> None:
    """Headers beyond 32 KiB are too large, byte by byte as well; of a body 64 KiB are read and 5 KiB kept."""
    reader = ResponseParser()
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    for _ in range((MAX_HEADERS - 17) // 6):
        assert not reader.feed(b"X: y\r\n")
    with pytest.raises(TooLarge):
        reader.feed(b"X: y\r\n")
    reader = ResponseParser()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    taken = 0
    while not reader.feed(b"x" * 4_096):
        taken += 4_096
    assert taken <= MAX_BODY_READ
    assert (len(reader.body), reader.cut, reader.keep_alive) == (MAX_BODY_KEPT, True, False)


def test_body_of_tiny_chunks_is_cut() -> None:
    """Chunk lines count towards the limit of header bytes. After some thousand the body is cut; the response counts."""
    reader = ResponseParser()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.feed(b"1\r\nx\r\n" * 10_000)
    assert (reader.status, reader.cut, reader.keep_alive) == (200, True, False)
    assert len(reader.body) < 4_096


@pytest.mark.parametrize("length", [b"9" * 18, b"9" * 19, b"9" * 5_000, b"0" * 5_000 + b"9" * 5_000])
def test_content_length_may_have_thousands_of_digits(length: bytes) -> None:
    """A length with too many digits counts as a body without end."""
    reader = ResponseParser()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\nhello" % length)
    assert (reader.status, reader.body, reader.headers_complete) == (200, b"hello", True)


def test_content_length_may_begin_with_zeros() -> None:
    """Leading zeros of a length are ignored, even thousands of them."""
    for length, over in ((b"0" * 5_000, True), (b"0" * 5_000 + b"5", True), (b"0" * 5_000 + b"6", False)):
        reader = ResponseParser()
        body = b"" if length.endswith(b"0") else b"hello"
        assert reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n%b" % (length, body)) is over

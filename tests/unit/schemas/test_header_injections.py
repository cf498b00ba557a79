"""Header injection: two hundred hostile names and values are refused, and valid headers are sent unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.delivery.http.types import Response
from schemas.senders.sender import load_senders
from schemas.subscriptions.header_rules import GivenHeader, header_problems, is_sendable
from tests.support.hostile import HostileReceiver
from tests.support.http_client import local_client, request_to, response_of

pytestmark = pytest.mark.promise(5)

ZENOO = load_senders()["zenoo"]
# Characters that end a line in some programs: controls, and the line separators of Unicode.
ENDS = ["\r", "\n", "\r\n", "\n\r", "\0", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
# Letters whose lower byte is CR or LF, in case a program truncates them to one byte, and other non-ASCII.
NARROWED = ["\u010d", "\u010a", "\u560d", "\u560a", "\u0d0a", "\uff1a", "\u00a0", "\u200b", "\u202e", "é", "\ud83d"]
OTHERS = ["\t", "\x01", "\x07", "\x08", "\x1b[31m", "\x7f", "\x80", "\x9b"]
FORGED = ["Host: evil.example", "Content-Length: 0", "Transfer-Encoding: chunked", "X-Signature: forged"]
FRAMING = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Trailer", "Upgrade", "Keep-Alive"]
FRAMING += ["Expect", "Proxy-Authorization", "Proxy-Connection", "Content-Encoding", "Content-Type", "HTTP2-Settings"]


def forged_values() -> Iterator[str]:
    """Yield values that end their line, fold it, or begin the body."""
    for end in ENDS:
        yield from (f"{end}a", f"a{end}b", f"a{end}")
    for bad in (*NARROWED, *OTHERS):
        yield from (f"{bad}a", f"a{bad}b", f"a{bad}")
    for header in FORGED:
        yield from (f"a{end}{header}" for end in ("\r\n", "\n", "\r", "\r\n ", "\n\t"))
    yield from (
        "a\r\n\r\nGET / HTTP/1.1",
        "a\r\n\r\n{}",
        "a\n\n0\r\n\r\n",
        "a\r\n folded",
        "a\r\n\tfolded",
        " a",
        "a ",
        "",
    )


def forged_names() -> Iterator[str]:
    """Yield names that frame the message, belong to the sender, or are invalid."""
    for name in (*FRAMING, *sorted(ZENOO.header_names)):
        yield from (name, name.upper(), name.lower())
    for name in ("Host", "Content-Length", "X-A"):
        yield from (f"{name} ", f" {name}", f"{name}\t", f"{name}:", f"{name}: a\r\nX-B", f"{name}\r\n", f"{name}\0")
        yield from (f"\r\n{name}", f"{name};", f"{name}\x0b", f"{name}\u00a0")
    yield from ("", ":", ":path", "X A", "X\nA", "X(A)", "X,A", "X/A", '"X"', "{X}")
    yield from (
        "Ho\u017ft",
        "\uff28ost",
        "\u0397ost",
        "\uff48ost",
    )  # letters that look like those of Host, or fold to them


VALUES = sorted(set(forged_values()))
NAMES = sorted(set(forged_names()))


def test_table_has_two_hundred_cases() -> None:
    """The table is as long as the module docstring says."""
    assert len(VALUES) + len(NAMES) >= 200


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_hostile_header_value_is_refused(value: str) -> None:
    """A value that is empty, padded or not printable ASCII is refused, in a message that does not repeat it."""
    [(_, problem)] = header_problems([GivenHeader("X-Own", value)], ZENOO)
    assert "evil" not in problem
    assert problem.isprintable()
    assert not is_sendable("X-Own", value)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_hostile_header_name_is_refused(name: str) -> None:
    """A name that is no token, that frames the message, or that the sender sets is refused."""
    [(_, problem)] = header_problems([GivenHeader(name, "a")], ZENOO)
    assert problem.isprintable()
    assert name.lower() in ZENOO.header_names or not is_sendable(name, "a")


def test_valid_header_is_sent_unchanged() -> None:
    """A header that only looks dangerous is sent byte for byte, as one line of one request."""
    headers = [
        GivenHeader("X-Percent", "a%0d%0aHost: evil.example"),
        GivenHeader("X-Escaped", r"a\r\nHost: evil.example\u000d"),
        GivenHeader("X-Colons", ": : Content-Length: 0"),
        GivenHeader("X-Quoted", '"a, b"; c=<d>; HTTP/1.1 200 OK'),
        GivenHeader("X!#$%&'*+-.^_`|~1", "@"),
        GivenHeader("Authorization", "Bearer a.b_c-d~e+f/g=="),
        GivenHeader("X-Longest", "v" * 4_000),
    ]
    assert list(header_problems(headers, ZENOO)) == []
    receiver, client = HostileReceiver(), local_client()
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok", body=b"{}")
    lines = [f"{header.name}: {header.value}".encode() for header in headers]
    request.headers += lines
    assert response_of(client, request) == Response(200, None, b"", False)
    client.close()
    receiver.close()
    [seen] = receiver.requests
    head, _, body = seen.partition(b"\r\n\r\n")
    own = {f"Host: 127.0.0.1:{receiver.port}".encode(), b"Content-Length: 2"}
    assert sorted(head.split(b"\r\n")[1:]) == sorted([*request.headers, *own])
    assert body == b"{}"

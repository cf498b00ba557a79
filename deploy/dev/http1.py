"""Parser of HTTP/1.1 requests with a Content-Length (RFC 9112), for the receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_HEAD: Final = 64 * 1024
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class BadRequest(Exception):
    """The bytes are not a supported request; `status` is the response to it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True)
class Head:
    """Request line and headers, in order and as spelled."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    length: int
    keep_alive: bool
    expects_continue: bool


class RequestReader:
    """Splits a byte stream into requests. After each `feed` call `next_request` until it returns None."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._buffer = bytearray()
        self._head: Head | None = None
        self._wants_continue = False

    def feed(self, data: bytes) -> None:
        """Add bytes from the client."""
        self._buffer += data

    def next_request(self) -> tuple[Head, bytes] | None:
        """Return the next complete request, None if bytes are missing; BadRequest if it is not a supported one."""
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    raise BadRequest(431, "the head is too large")
                return None
            self._head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._head.length > self._max_body:
                raise BadRequest(413, "the body is too large")
            self._wants_continue = self._head.expects_continue
        head = self._head
        if len(self._buffer) < head.length:
            return None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._head = None
        self._wants_continue = False
        return head, body

    def wants_continue(self) -> bool:
        """Return, once per request, whether the client waits for `100 Continue` before it sends the body."""
        wants_continue = self._wants_continue
        self._wants_continue = False
        return wants_continue


def parse_head(data: bytes) -> Head:
    """Parse request line and headers, without the empty line; BadRequest says what is wrong."""
    request_line, *lines = data.lstrip(b"\r\n").split(b"\r\n")
    parts = request_line.split(b" ")
    if len(parts) != 3 or not all(parts) or not _TOKEN.issuperset(parts[0]):
        raise BadRequest(400, "malformed request line")
    method, path, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are supported")
    headers = tuple(_parse_header(line) for line in lines)
    values: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in {"content-length", "transfer-encoding"} and key in values:
            raise BadRequest(400, f"{name} appears twice")
        values[key] = value
    if "transfer-encoding" in values:
        raise BadRequest(411, "a Content-Length is required")
    connection = {option.strip().lower() for option in values.get("connection", "").split(",")}
    return Head(
        method=method.decode("latin-1"),
        path=path.decode("latin-1"),
        headers=headers,
        length=_parse_length(values.get("content-length", "0")),
        keep_alive="keep-alive" in connection if version == b"HTTP/1.0" else "close" not in connection,
        expects_continue=values.get("expect", "").lower() == "100-continue",
    )


def _parse_header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not _TOKEN.issuperset(name):
        raise BadRequest(400, "malformed header")
    if b"\r" in value or b"\n" in value or b"\0" in value:
        raise BadRequest(400, f"the value of {name.decode()} has a control character")
    return name.decode("latin-1"), value.strip(b" \t").decode("latin-1")


def _parse_length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(400, "the Content-Length is not a number")
    return int(text)

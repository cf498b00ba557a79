"""Parses responses as their bytes arrive: as leniently as browsers do, within limits. No I/O.

Nearly all responses arrive complete in one read and declare their length: `parse_complete_response` recognises these.
`ResponseParser` parses everything else.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from consumers.delivery.http.types import MAX_BODY_KEPT, MAX_BODY_READ, MAX_HEADERS

_COMPLETE_STATUS: Final = re.compile(rb"HTTP/1\.1 (2\d\d)[ \r]")
# The header lines that decide where a response ends, and whether its connection stays open.
_FRAMING: Final = re.compile(rb"\n(content-length|transfer-encoding|connection)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01])[ \t]+(\d{3})(?:[ \t].*)?", re.DOTALL)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_BEGINNING: Final = b"HTTP/1."
_PLAIN_HEAD: Final = 8 * 1024
# Heads of an endpoint differ only by the date, so each is cached and parsed about once a second.
_MAX_HEADS: Final = 256
_heads: Final[dict[bytes, tuple[int, int]]] = {}
_ENDLESS: Final = 10**18
_MAX_DIGITS: Final = 18
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_MAX_CHUNK_LINE: Final = 4 * 1024
# Lines between chunks count as header lines, with this overhead each. That bounds bodies of thousands of tiny chunks.
_CHUNK_OVERHEAD: Final = 8
_NO_BODY: Final = frozenset({204, 304})
_SWITCHED: Final = 101


class BadResponse(Exception):
    """The bytes are not an HTTP response. The message says why, without the bytes."""


class TooLarge(Exception):
    """The header lines exceed MAX_HEADERS."""


def parse_complete_response(data: bytes) -> tuple[int, int] | None:
    """Return status and body offset if `data` is exactly one 2xx response that keeps its connection; else None."""
    end = data.find(b"\r\n\r\n") + 4
    if end < len(_BEGINNING) or end > _PLAIN_HEAD:
        return None
    head = data[:end]
    framed = _heads.get(head)
    if framed is None:
        framed = _plain_head(head)
        if framed is None:
            return None
        if len(_heads) >= _MAX_HEADS:
            _heads.clear()
        _heads[head] = framed
    return (framed[0], end) if len(data) - end == framed[1] else None


def _plain_head(head: bytes) -> tuple[int, int] | None:
    """Return status and body length if the head is that of a 2xx response that keeps its connection; else None."""
    found = _COMPLETE_STATUS.match(head)
    if found is None or b"\0" in head:
        return None
    length = None
    for name, value in _FRAMING.findall(head, 0, len(head) - 2):
        if len(name) == len(b"content-length") and length is None and value.isdigit() and len(value) < len(b"100000"):
            length = int(value)
        elif value.lower() != b"keep-alive":
            return None
    status = int(found[1])
    if length is None and status not in _NO_BODY:
        return None
    return status, 0 if length is None or status in _NO_BODY else length


class _State(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNK_LINE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    UNTIL_CLOSE = auto()
    COMPLETE = auto()


class ResponseParser:
    """Parses one response. Call `feed` until it returns True. A response exists once `headers_complete` is true."""

    __slots__ = (
        "_at",
        "_buffer",
        "_header_bytes",
        "_keeps",
        "_left",
        "_read",
        "_state",
        "begun",
        "body",
        "cut",
        "headers_complete",
        "keep_alive",
        "retry_after",
        "status",
    )

    def __init__(self) -> None:
        self.begun = False
        self.headers_complete = False
        self.status = 0
        self.retry_after: str | None = None
        self.body = b""
        self.cut = False  # the body is incomplete, or longer than the client reads
        self.keep_alive = False  # valid once the response is complete
        self._state = _State.HEAD
        self._buffer = b""
        self._at = 0  # offset in the buffer, while reading a body
        self._header_bytes = 0
        self._keeps = False
        self._left = 0
        self._read = 0

    @property
    def not_kept(self) -> int:
        """How many bytes of the body were received and are not in `body`."""
        return self._read - len(self.body)

    def feed(self, data: bytes) -> bool:
        """Parse the next bytes (b"": the connection ended). Return True once the response is complete.

        BadResponse, TooLarge: only before the headers are complete. Later errors cut the response.
        """
        if not data:
            return self._ended()
        self.begun = True
        self._buffer += data
        if self._state is _State.HEAD:
            self._read_heads()
        if self.headers_complete:
            try:
                self._read_body()
            except BadResponse:
                self._complete(cut=True)
        return self._state is _State.COMPLETE

    def _ended(self) -> bool:
        if not self.headers_complete:
            raise BadResponse("the connection ended within the response headers")
        if self._state is not _State.COMPLETE:
            self._complete(cut=self._state is not _State.UNTIL_CLOSE)
        return True

    def _complete(self, *, cut: bool) -> None:
        self._state = _State.COMPLETE
        self.cut = cut
        self.keep_alive = self._keeps and not cut and self._at == len(self._buffer)
        self._buffer = b""
        self._at = 0

    def _read_heads(self) -> None:
        """Parse heads until one that is not interim (1xx)."""
        while not self.headers_complete:
            buffer = self._buffer
            if not buffer.startswith(_BEGINNING[: len(buffer)]):
                raise BadResponse("the response is not HTTP/1.0 or HTTP/1.1")
            end = _HEAD_END.search(buffer)
            size = len(buffer) if end is None else end.end()
            if self._header_bytes + size > MAX_HEADERS:
                raise TooLarge
            if end is None:
                return
            self._header_bytes += size
            self._buffer = buffer[size:]
            self._read_head(buffer[: end.start()])

    def _read_head(self, head: bytes) -> None:
        first, *lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
        found = _STATUS_LINE.fullmatch(first)
        if found is None or found[2] < b"100" or b"\0" in head:
            raise BadResponse("the status line or a header line is invalid")
        status = int(found[2])
        if status == _SWITCHED:
            raise BadResponse("101: the request did not ask for another protocol")
        if status < 200:
            return
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if colon:
                fields.setdefault(name.strip().lower(), []).append(value.strip())
        self._frame(status, found[1] == b"1", fields)
        self.status = status
        self.headers_complete = True
        if b"retry-after" in fields:
            self.retry_after = fields[b"retry-after"][0].decode("latin-1")

    def _frame(self, status: int, persistent: bool, fields: dict[bytes, list[bytes]]) -> None:
        """Determine where the body ends (RFC 9112, 6.3)."""
        options = {option.lower() for option in _listed(fields, b"connection")}
        self._keeps = b"close" not in options and (persistent or b"keep-alive" in options)
        codings = [coding.lower() for coding in _listed(fields, b"transfer-encoding")]
        lengths = set(_listed(fields, b"content-length"))
        if status in _NO_BODY:
            self._complete(cut=False)
        elif codings and codings != [b"identity"]:
            if codings != [b"chunked"]:
                raise BadResponse("the transfer coding is not chunked")
            self._state = _State.CHUNK_LINE
            self._keeps = self._keeps and not lengths  # with both headers the end of the body is ambiguous
        elif lengths:
            if len(lengths) > 1 or not next(iter(lengths)).isdigit():
                raise BadResponse("the content-length is not a number")
            digits = lengths.pop().lstrip(b"0")  # int() refuses thousands of digits
            self._left = int(digits or b"0") if len(digits) <= _MAX_DIGITS else _ENDLESS
            self._state = _State.LENGTH if self._left < _ENDLESS else _State.UNTIL_CLOSE
            if not self._left:
                self._complete(cut=False)
        else:
            self._state = _State.UNTIL_CLOSE
            self._keeps = False

    def _read_body(self) -> None:
        self._read_parts()
        self._buffer = self._buffer[self._at :]
        self._at = 0

    def _read_parts(self) -> None:
        while self._state is not _State.COMPLETE:
            match self._state:
                case _State.LENGTH | _State.CHUNK:
                    if self._take(self._left):
                        return
                case _State.UNTIL_CLOSE:
                    self._take(len(self._buffer) - self._at)
                    return
                case _:
                    line = self._line()
                    if line is None:
                        return
                    self._read_line(line)

    def _take(self, most: int) -> bool:
        """Take up to `most` bytes of the body. Return True if more bytes have to arrive."""
        data = self._buffer[self._at : self._at + most]
        self._at += len(data)
        self._read += len(data)
        if len(self.body) < MAX_BODY_KEPT:
            self.body += data[: MAX_BODY_KEPT - len(self.body)]
        if self._read > MAX_BODY_READ:
            self._complete(cut=True)
            return False
        if self._state is _State.UNTIL_CLOSE:
            return True
        self._left -= len(data)
        if self._left:
            return True
        if self._state is _State.LENGTH:
            self._complete(cut=False)
        else:
            self._state = _State.CHUNK_END
        return False

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._at)
        size = (len(self._buffer) if end < 0 else end) - self._at
        if size > _MAX_CHUNK_LINE:
            raise BadResponse("a line between chunks is too long")
        if end < 0:
            return None
        line = self._buffer[self._at : end].removesuffix(b"\r")
        self._at = end + 1
        self._header_bytes += len(line) + _CHUNK_OVERHEAD
        if self._header_bytes > MAX_HEADERS:
            raise BadResponse("too many chunks or trailers")
        return line

    def _read_line(self, line: bytes) -> None:
        match self._state:
            case _State.CHUNK_LINE:
                found = _CHUNK_SIZE.fullmatch(line)
                if found is None:
                    raise BadResponse("the size of a chunk is not a number")
                self._left = int(found[1], 16)
                self._state = _State.CHUNK if self._left else _State.TRAILERS
            case _State.CHUNK_END:
                if line:
                    raise BadResponse("a chunk is longer than its size")
                self._state = _State.CHUNK_LINE
            case _:  # trailers
                if not line:
                    self._complete(cut=False)


def _listed(fields: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    """Return the members of a list header, from all its lines."""
    return [member.strip() for value in fields.get(name, ()) for member in value.split(b",")]

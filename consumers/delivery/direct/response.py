"""A response, read as it comes: lenient as browsers are, within bounds. Pure: bytes in, what they mean out.

Nearly all responses are one read: complete, with their length. `whole` knows these, in 0.3 us where their head has come
before, and `ResponseReader` reads everything else.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from consumers.delivery.answer import MAX_BODY_KEPT, MAX_BODY_READ, MAX_HEADERS

_WHOLE_STATUS: Final = re.compile(rb"HTTP/1\.1 (2\d\d)[ \r]")
# The header lines that say where a response ends, or that its connection does.
_FRAMING: Final = re.compile(rb"\n(content-length|transfer-encoding|connection)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01])[ \t]+(\d{3})(?:[ \t].*)?", re.DOTALL)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_BEGINNING: Final = b"HTTP/1."
_PLAIN_HEAD: Final = 8 * 1024
# Who answers much says the same each time, but for the date: once a second it is read.
_MAX_HEADS: Final = 256
_heads: Final[dict[bytes, tuple[int, int]]] = {}
_ENDLESS: Final = 10**18
_MAX_DIGITS: Final = 18
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_MAX_CHUNK_LINE: Final = 4 * 1024
# Lines between chunks count as header lines, the shortest as so much: a body in thousands of crumbs is not read whole.
_CHUNK_OVERHEAD: Final = 8
_NO_BODY: Final = frozenset({204, 304})
_SWITCHED: Final = 101


class BadResponse(Exception):  # it is no error of ours
    """What came is not HTTP; the text says why, without what came."""


class TooLarge(Exception):
    """More header lines came than are read."""


def whole(data: bytes) -> tuple[int, int] | None:
    """Return status and where the body begins, of a 2xx that is all of `data` and leaves its connection open."""
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
    """Return the status and the length of the body of a 2xx that leaves its connection open, None for other heads."""
    found = _WHOLE_STATUS.match(head)
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
    OVER = auto()


class ResponseReader:
    """Reads one response. `feed` until it returns True; `headers_complete` makes it an answer, however it goes on."""

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
        self.cut = False  # the body did not come whole, or is larger than is read
        self.keep_alive = False  # once it is over
        self._state = _State.HEAD
        self._buffer = b""
        self._at = 0  # what of it has been read, of a body
        self._header_bytes = 0
        self._keeps = False
        self._left = 0
        self._read = 0

    def feed(self, data: bytes) -> bool:
        """Take what came (b"": the connection ended); True: the response is over.

        BadResponse and TooLarge before the headers are complete; afterwards the response is cut.
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
                self._over(cut=True)
        return self._state is _State.OVER

    def _ended(self) -> bool:
        if not self.headers_complete:
            raise BadResponse("the connection ended within the response headers")
        if self._state is not _State.OVER:
            self._over(cut=self._state is not _State.UNTIL_CLOSE)
        return True

    def _over(self, *, cut: bool) -> None:
        self._state = _State.OVER
        self.cut = cut
        self.keep_alive = self._keeps and not cut and self._at == len(self._buffer)
        self._buffer, self._at = b"", 0

    def _read_heads(self) -> None:
        """Read heads until one that is not interim."""
        while not self.headers_complete:
            buffer = self._buffer
            if not buffer.startswith(_BEGINNING[: len(buffer)]):
                raise BadResponse("what came is not HTTP/1.0 or 1.1")
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
            raise BadResponse("its status line or a header line is not one of HTTP")
        status = int(found[2])
        if status == _SWITCHED:
            raise BadResponse("it switched to a protocol that nobody asked for")
        if status < 200:
            return
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if colon:
                fields.setdefault(name.strip().lower(), []).append(value.strip())
        self._frame(status, found[1] == b"1", fields)
        self.status, self.headers_complete = status, True
        if b"retry-after" in fields:
            self.retry_after = fields[b"retry-after"][0].decode("latin-1")

    def _frame(self, status: int, persistent: bool, fields: dict[bytes, list[bytes]]) -> None:
        """Find out where the body ends."""
        options = {option.lower() for option in _listed(fields, b"connection")}
        self._keeps = b"close" not in options and (persistent or b"keep-alive" in options)
        codings = [coding.lower() for coding in _listed(fields, b"transfer-encoding")]
        lengths = set(_listed(fields, b"content-length"))
        if status in _NO_BODY:
            self._over(cut=False)
        elif codings and codings != [b"identity"]:
            if codings != [b"chunked"]:
                raise BadResponse("its transfer coding is not one that was asked for")
            self._state = _State.CHUNK_LINE
            self._keeps = self._keeps and not lengths  # who says both may mean either
        elif lengths:
            if len(lengths) > 1 or not next(iter(lengths)).isdigit():
                raise BadResponse("its content-length is none")
            digits = lengths.pop().lstrip(b"0")  # of thousands Python reads no number
            self._left = int(digits or b"0") if len(digits) <= _MAX_DIGITS else _ENDLESS
            self._state = _State.LENGTH if self._left < _ENDLESS else _State.UNTIL_CLOSE
            if not self._left:
                self._over(cut=False)
        else:
            self._state = _State.UNTIL_CLOSE
            self._keeps = False

    def _read_body(self) -> None:
        self._read_parts()
        self._buffer, self._at = self._buffer[self._at :], 0

    def _read_parts(self) -> None:
        while self._state is not _State.OVER:
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
        """Take of the body what is there; True: there has to come more."""
        data = self._buffer[self._at : self._at + most]
        self._at += len(data)
        self._read += len(data)
        if len(self.body) < MAX_BODY_KEPT:
            self.body += data[: MAX_BODY_KEPT - len(self.body)]
        if self._read > MAX_BODY_READ:
            self._over(cut=True)
            return False
        if self._state is _State.UNTIL_CLOSE:
            return True
        self._left -= len(data)
        if self._left:
            return True
        if self._state is _State.LENGTH:
            self._over(cut=False)
        else:
            self._state = _State.CHUNK_END
        return False

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._at)
        if (len(self._buffer) if end < 0 else end) - self._at > _MAX_CHUNK_LINE:
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
                    raise BadResponse("the size of a chunk is none")
                self._left = int(found[1], 16)
                self._state = _State.CHUNK if self._left else _State.TRAILERS
            case _State.CHUNK_END:
                if line:
                    raise BadResponse("a chunk is longer than it said")
                self._state = _State.CHUNK_LINE
            case _:  # trailers
                if not line:
                    self._over(cut=False)


def _listed(fields: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    """Return the members of a header that is a list, over all its lines."""
    return [member.strip() for value in fields.get(name, ()) for member in value.split(b",")]

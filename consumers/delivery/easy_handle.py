"""One libcurl transfer and what has come of it so far. Handles are used again: what never changes is set once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pycurl

from consumers.delivery.answer import (
    MAX_BODY_KEPT,
    MAX_BODY_READ,
    MAX_HEADERS,
    TOO_LARGE,
    WITH_RETRY_AFTER,
    Answer,
    ClientIdentity,
    Request,
    Responded,
    Unanswered,
    responded,
)
from consumers.delivery.connections import LARGE_UPLOAD_BUFFER, UPLOAD_BUFFER, Connections, static_options
from consumers.delivery.failures import printable, through_proxy, unanswered
from consumers.delivery.resolver import Addresses
from schemas.failures import FailureKind

# Header lines without a value take away what libcurl adds by itself.
_SUPPRESSED: Final = [b"Accept:", b"Expect:", b"Content-Type:"]
# What goes out with one write beside 4 KiB of header lines.
_SMALL_BODY: Final = UPLOAD_BUFFER - 4 * 1024
# A body larger than this does not stay in memory with the idle handle.
_KEEP_BODY: Final = 16 * 1024
# libcurl tells no longer Retry-After than this: whoever said so may have said a day.
_LIBCURL_WAIT_S: Final = 6 * 3_600
_A_DAY: Final = "86400"
_NO_LENGTH: Final = -1

# Called with the handle and libcurl's address; returns a socket, or SOCKET_BAD.
OpenSocket: TypeAlias = Callable[["Handle", Any], Any]


class Handle:
    """A transfer: `begin`, then one of `ended` and `expired`, then `rest`."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_complete",
        "_connect_to",
        "_easy_url",
        "_header_bytes",
        "_http2",
        "_identity",
        "_lines",
        "_proxied",
        "_roomy",
        "_sockets",
        "_status_line",
        "deadline",
        "easy",
        "large",
        "request",
        "started",
        "trouble",
        "watched",
    )

    def __init__(self, open_socket: OpenSocket, on_socket: Callable[[int], None], connections: Connections) -> None:
        self.easy = easy = pycurl.Curl()
        easy.handle = self
        self.request: Request | None = None
        self.started = self.deadline = 0.0
        # Why the socket was refused by us: libcurl only says that it could not connect.
        self.trouble: Unanswered | None = None
        self.large = False
        self._easy_url = ""
        self._connect_to: list[str] | None = None
        self._identity: ClientIdentity | None = None
        self._proxied = connections.proxy is not None
        self._http2 = connections.http2
        self._roomy = False
        self._sockets: list[int] = []  # that were made for this transfer
        self.watched = False
        self._lines: list[bytes] = []
        self._reset()
        for option, value in static_options(connections):
            easy.setopt(option, value)
        easy.setopt(pycurl.WRITEFUNCTION, self._on_body)
        easy.setopt(pycurl.OPENSOCKETFUNCTION, lambda _purpose, address: open_socket(self, address))
        easy.setopt(pycurl.SOCKOPTFUNCTION, lambda fd, _purpose: self._prepare(on_socket, fd))

    def begin(self, request: Request, to: Addresses, started: float, deadline: float, *, watched: bool) -> None:
        """Make ready for a request to these addresses."""
        self.request, self.started, self.deadline = request, started, deadline
        self._reset()
        setopt = self.easy.setopt
        if request.target.url != self._easy_url:
            setopt(pycurl.URL, request.target.url)
            self._easy_url = request.target.url
            if self._http2:
                # A stream of a connection that is being made, not another one: TLS says soon whether it may be one.
                # In the clear only the first answer does, which may never come.
                setopt(pycurl.PIPEWAIT, int(request.target.scheme == "https"))
        setopt(pycurl.HTTPHEADER, request.headers + _SUPPRESSED)
        setopt(pycurl.POSTFIELDS, request.body)
        setopt(pycurl.RESOLVE, to.pin)
        if to.connect_to is not self._connect_to:
            setopt(pycurl.CONNECT_TO, to.connect_to)
            self._connect_to = to.connect_to
        roomy = len(request.body) > _SMALL_BODY
        if roomy is not self._roomy:
            setopt(pycurl.UPLOAD_BUFFERSIZE, LARGE_UPLOAD_BUFFER if roomy else UPLOAD_BUFFER)
            self._roomy = roomy
        if request.identity is not self._identity:
            self._show(request.identity)
        if watched is not self.watched:
            self.watched = watched
            setopt(pycurl.HEADERFUNCTION, self._on_header if watched else None)

    def ended(self) -> Answer:
        """Return what came of a transfer that libcurl calls a success.

        It calls so as well a response whose connection ends within the headers.
        """
        easy = self.easy
        if easy.getinfo(pycurl.HEADER_SIZE) > MAX_HEADERS:
            self.large = True
            return TOO_LARGE
        status: int = easy.getinfo(pycurl.RESPONSE_CODE)
        if status >= 200 and (self._complete if self.watched else self._body_bytes or self.declares_length):
            return self._responded(status, cut=False)
        return Unanswered("reset", "the connection ended within the response headers")

    def failed(self, code: int, message: str) -> Answer:
        """Return what came of a transfer that libcurl gave up; complete headers are an answer nevertheless."""
        if self.is_answered:
            return self._responded(self.easy.getinfo(pycurl.RESPONSE_CODE), cut=True)
        if self.trouble is not None:
            return self.trouble
        if self.has_large_headers():
            return TOO_LARGE
        return self._failure(code, message)

    def expired(self) -> Answer:
        """Return what had come at the deadline."""
        if self.is_answered:
            return self._responded(self.easy.getinfo(pycurl.RESPONSE_CODE), cut=True)
        assert self.request is not None
        kind, what = self._late()
        return Unanswered(kind, f"no complete {what} within {self.request.timeout_ms / 1000:g} s")

    def close(self) -> None:
        """Free the handle and what libcurl keeps with it."""
        self.easy.handle = None
        self.easy.close()

    @property
    def is_answered(self) -> bool:
        """Whether the headers of a final response have arrived to their end."""
        if self.watched:
            return self._complete
        # The length of the body is known to libcurl from the end of the headers on, and not before. Without either of
        # the two nothing tells; the transport watches the header lines of whoever answers like that.
        if not (self._body_bytes or self.declares_length):
            return False
        return bool(self.easy.getinfo(pycurl.RESPONSE_CODE) >= 200)  # libcurl takes what follows a 101 for a body

    @property
    def is_in_doubt(self) -> bool:
        """Whether a response had begun of which nobody can say whether its headers are complete."""
        return not self.watched and bool(self.easy.getinfo(pycurl.RESPONSE_CODE) >= 200)

    def has_large_headers(self) -> bool:
        """Tell whether more than 32 KiB of header lines came in all, with or without somebody watching."""
        self.large = self._header_bytes > MAX_HEADERS or self.easy.getinfo(pycurl.HEADER_SIZE) > MAX_HEADERS
        return self.large

    @property
    def declares_length(self) -> bool:
        """Whether a complete response header gave the length of the body."""
        return bool(self.easy.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T) != _NO_LENGTH)

    def rest(self) -> None:
        """Let go of what the next request does not need."""
        if self.request is not None and len(self.request.body) > _KEEP_BODY:
            self.easy.setopt(pycurl.POSTFIELDS, b"")
        self.request = None
        self._lines.clear()

    def _show(self, identity: ClientIdentity | None) -> None:
        """Take a client certificate, or none: libcurl keeps connections that were made with another apart."""
        self.easy.setopt(pycurl.SSLCERT_BLOB, identity and identity.certificate)
        self.easy.setopt(pycurl.SSLKEY_BLOB, identity and identity.key)
        self._identity = identity

    def _failure(self, code: int, message: str) -> Unanswered:
        info = self.easy.getinfo
        if self._proxied:
            failure = through_proxy(message, info(pycurl.HTTP_CONNECTCODE), info(pycurl.CONNECT_TIME_T) > 0)
            if failure is not None:
                return failure
        return unanswered(code, info(pycurl.OS_ERRNO), message, info(pycurl.SSL_VERIFYRESULT))

    def _late(self) -> tuple[FailureKind, str]:
        """Return what did not happen in time."""
        info = self.easy.getinfo
        if info(pycurl.PRETRANSFER_TIME_T) > 0:  # set when the connection, with TLS, was ready for the request
            return "timeout_answer", "response headers"
        if not self._is_connected():
            return (
                ("proxy_unreachable", "connection to the proxy") if self._proxied else ("timeout_connect", "connection")
            )
        if self._proxied and info(pycurl.HTTP_CONNECTCODE) != 200:
            return "timeout_connect", "connection through the proxy"
        if self.request is not None and self.request.target.scheme == "http":  # it has just been connected
            return "timeout_connect", "connection"
        return "timeout_tls", "TLS handshake"

    def _responded(self, status: int, *, cut: bool) -> Responded:
        if status in WITH_RETRY_AFTER:
            return Responded(status, self._retry_after(), self._body, cut)
        return responded(status, self._body, cut=cut)

    def _retry_after(self) -> str | None:
        if self.watched:
            for line in self._lines:
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"retry-after":
                    return printable(value.strip().decode("latin-1"))
            return None
        seconds: int = self.easy.getinfo(pycurl.RETRY_AFTER)  # of a date, how far it is away
        if seconds >= _LIBCURL_WAIT_S:
            return _A_DAY
        return str(seconds) if seconds > 0 else None

    def _reset(self) -> None:
        self.trouble = None
        self.large = False  # libcurl then holds more header lines than an idle handle should
        self._body = b""
        self._body_bytes = self._header_bytes = 0
        self._complete = False
        self._status_line = b""
        if self._sockets:
            self._sockets.clear()

    def _on_header(self, line: bytes) -> int | None:
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADERS:
            return 0
        if self._complete:  # a trailer
            return None
        if line[:5] == b"HTTP/":
            self._status_line = line
            self._lines.clear()
        elif line in (b"\r\n", b"\n"):
            # 1xx is not the answer, and what begins with a blank line, or with status 000, is none.
            self._complete = b"2" <= self._status_line.partition(b" ")[2].lstrip()[:1] <= b"9"
        else:
            self._lines.append(line)
        return None

    def _on_body(self, chunk: bytes) -> int | None:
        self._body_bytes += len(chunk)
        kept = len(self._body)
        if kept < MAX_BODY_KEPT:
            self._body += chunk[: MAX_BODY_KEPT - kept]
        return 0 if self._body_bytes > MAX_BODY_READ else None

    def _prepare(self, on_socket: Callable[[int], None], fd: int) -> int:
        try:
            os.set_inheritable(fd, False)
            on_socket(fd)
        except OSError:
            return int(pycurl.SOCKOPT_ERROR)
        self._sockets.append(fd)
        return int(pycurl.SOCKOPT_OK)

    def _is_connected(self) -> bool:
        """Whether one of its sockets has somebody at its other end; libcurl tells when TLS is ready, and not before."""
        return any(_has_peer(fd) for fd in self._sockets)


def _has_peer(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as connection:
            connection.getpeername()
    except OSError:
        return False
    return True

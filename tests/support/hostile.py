"""A receiver that misbehaves as the path of the request says. `python -m tests.support.hostile` prints its port.

It runs in a process of its own, so that its buffers do not count for the memory that a test measures.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from tests.support.listening import connections_of, stop_listening

_OK: Final = b"HTTP/1.1 200 OK\r\nServer: hostile\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_EMPTY: Final = b"Content-Length: 0\r\n\r\n"
_NO_BODY: Final = _OK + _EMPTY
_FILLER: Final = b"X-Filler: " + b"a" * 1000 + b"\r\n"
_INTERIM: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
_ZEROS: Final = gzip.compress(b"\0" * 50_000_000)

# Bytes to send at once, and what to do with the connection afterwards.
_SENT: Final[dict[str, tuple[bytes, str]]] = {
    "ok": (_NO_BODY, "keep"),
    "ok-and-close": (_OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", "close"),
    "ok-body": (_OK + b"Content-Length: 5\r\n\r\nhello", "keep"),
    "ok-until-close": (b"HTTP/1.0 200 OK\r\n\r\n", "close"),
    "ok-chunked-empty": (_CHUNKED + b"0\r\n\r\n", "keep"),
    "ok-after-interim": (b"HTTP/1.1 100 Continue\r\n\r\n" + _INTERIM * 3 + _NO_BODY, "keep"),
    "no-content": (b"HTTP/1.1 204 No Content\r\n\r\n", "keep"),
    "retry-after": (b"HTTP/1.1 503 Later\r\nretry-after:  86400 \r\nContent-Length: 0\r\n\r\n", "keep"),
    "retry-after-of": (b"HTTP/1.1 429 Later\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n", "keep"),
    "retry-after-twice": (
        (
            b"HTTP/1.1 103 Early Hints\r\nRetry-After: 1\r\n\r\n"
            b"HTTP/1.1 503 Later\r\nRetry-After: 7\r\nRetry-After: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\nRetry-After: 2\r\n\r\n"
        ),
        "keep",
    ),
    "retry-after-of-200": (_OK + b"Retry-After: 7\r\nContent-Length: 0\r\n\r\n", "keep"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /redirect\r\nContent-Length: 0\r\n\r\n", "keep"),
    "never": (b"", "hang"),
    "close": (b"", "close"),
    "reset": (b"", "reset"),
    "mid-status": (b"HTTP/1.1 20", "close"),
    "mid-headers": (_OK, "close"),
    "mid-headers-length": (_OK + b"Content-Length: 0\r\n", "close"),
    "mid-headers-both": (_OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "close"),
    "mid-headers-reset": (_OK, "reset"),
    "mid-headers-hang": (_OK + b"Content-Length: 0\r\n", "hang"),
    "mid-headers-after-interim": (_INTERIM + _OK, "close"),
    "interim-only": (_INTERIM, "hang"),
    "mid-body": (_OK + b"Content-Length: 9\r\n\r\nhell", "close"),
    "mid-body-reset": (_OK + b"Content-Length: 9\r\n\r\n", "reset"),
    "mid-chunk": (_CHUNKED + b"9\r\nhell", "close"),
    "no-chunk": (_CHUNKED, "close"),
    "no-chunk-reset": (_CHUNKED, "reset"),
    "no-chunk-hang": (_CHUNKED, "hang"),
    "no-body-hang": (_OK + b"Content-Length: 9\r\n\r\n", "hang"),
    "until-close-hang": (_OK + b"\r\n", "hang"),
    "bad-chunk": (_CHUNKED + b"zz\r\n", "hang"),
    "huge-headers": (_OK + _FILLER * 40 + b"Content-Length: 0\r\n\r\n", "keep"),
    "huge-line": (_OK + b"X-Filler: " + b"a" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n", "keep"),
    "almost-huge-headers": (_OK + _FILLER * 30 + b"Content-Length: 0\r\n\r\n", "keep"),
    "gzip-bomb": (_OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_ZEROS) + _ZEROS, "keep"),
    "gzip-transfer": (_OK + b"Transfer-Encoding: gzip\r\n\r\n" + _ZEROS, "close"),
    "old-http": (b"hello\r\n", "close"),
    "banner": (b"SSH-2.0-OpenSSH_9.2\r\n", "hang"),
    "two-lengths": (_OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "close"),
    "two-equal-lengths": (_OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "keep"),
    "listed-lengths": (_OK + b"Content-Length: 5, 5\r\n\r\nhello", "close"),
    "length-and-chunks": (
        _OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "close",
    ),
    "negative-length": (_OK + b"Content-Length: -5\r\n\r\nhello", "close"),
    "endless-length": (_OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello", "close"),
    "long-length": (_OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\nhello", "close"),
    "negative-chunk": (_CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", "close"),
    "endless-chunk": (_CHUNKED + b"fffffffffffffffffffff\r\nhello\r\n", "close"),
    "chunk-too-long": (_CHUNKED + b"3\r\nhello\r\n0\r\n\r\n", "close"),
    "ten-thousand-headers": (_OK + b"X: y\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n", "keep"),
    "many-interim": (_INTERIM * 700 + _NO_BODY, "keep"),
    "switch": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "hang"),
    "switch-and-speak": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\0\0\0\4\0\0\0\0\0", "hang"),
    "status-99": (b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n", "close"),
    "status-999": (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "keep"),
    "status-0": (b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n", "keep"),
    "status-0200": (b"HTTP/1.1 0200 Odd\r\nContent-Length: 0\r\n\r\n", "keep"),
    "status-minus": (b"HTTP/1.1 -200 Odd\r\nContent-Length: 0\r\n\r\n", "keep"),
    "blank-first": (b"\r\n" + _NO_BODY, "keep"),
    "http2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "hang"),
    "http2-settings": (b"\0\0\0\4\0\0\0\0\0", "hang"),
    "http2-status": (b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", "hang"),
    "no-colon": (_OK + b"X-A\r\nContent-Length: 0\r\n\r\n", "keep"),
    "folded": (_OK + b"X-A: b\r\n c\r\n\td\r\nContent-Length: 0\r\n\r\n", "keep"),
    "bare-lines": (_NO_BODY.replace(b"\r", b""), "keep"),
    "bare-returns": (_NO_BODY.replace(b"\n", b""), "hang"),
    "plus-length": (_OK + b"Content-Length: +5\r\n\r\nhello", "close"),
    "empty-length": (_OK + b"Content-Length:\r\n\r\nhello", "close"),
    "not-chunked-last": (_OK + b"Transfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "close"),
    "huge-location": (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/" + b"a" * 30_000 + b"\r\n" + _EMPTY, "keep"),
    "huger-location": (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/" + b"a" * 300_000 + b"\r\n" + _EMPTY, "keep"),
    "elsewhere": (
        _OK + b'Refresh: 0;url=http://10.0.0.1/\r\nAlt-Svc: h2="10.0.0.1:443"\r\nSet-Cookie: a=b\r\n' + _EMPTY,
        "keep",
    ),
    "unauthorised": (
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="a"\r\nWWW-Authenticate: NTLM\r\n' + _EMPTY,
        "keep",
    ),
    "of-a-proxy": (b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="a"\r\n' + _EMPTY, "keep"),
    "nul-in-header": (_OK + b"X-A: a\0b\r\nContent-Length: 0\r\n\r\n", "close"),
    "two-answers": (_NO_BODY + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "keep"),
    "ansi": (_OK + b"Transfer-Encoding: \x1b[31mred\r\n\r\n", "close"),
}
# Bytes to send first, bytes to send until the client closes, and the pause between them in seconds.
_ENDLESS: Final[dict[str, tuple[bytes, bytes, float]]] = {
    "endless-body": (_OK + b"\r\n", b"x" * 65_536, 0),
    "gigabyte": (_OK + b"Content-Length: 1073741824\r\n\r\n", b"x" * 65_536, 0),
    "endless-chunks": (_CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", 0),
    "endless-headers": (_OK, _FILLER, 0),
    "endless-interim": (b"", _INTERIM * 50, 0),
    "endless-large-interim": (b"", b"HTTP/1.1 103 Early Hints\r\n" + _FILLER * 200 + b"\r\n", 0),
    "endless-trailers": (_CHUNKED + b"0\r\n", _FILLER, 0),
    "drip-headers": (_OK, b"X-A: b\r\n", 0.02),
    "drip-header-bytes": (_OK, b"x", 0.02),
    "drip-body": (_OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.02),
}


def _read_request(connection: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    """Return a request with its body, and the bytes after it; empty when the connection has ended."""
    while b"\r\n\r\n" not in rest:
        more = connection.recv(65_536)
        if not more:
            return b"", b""
        rest += more
    head, _, body = rest.partition(b"\r\n\r\n")
    lines = [line.partition(b":") for line in head.split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name.lower() == b"content-length"), 0)
    while len(body) < length and (more := connection.recv(65_536)):
        body += more
    return head + b"\r\n\r\n" + body[:length], body[length:]


def _leave(connection: socket.socket, how: str) -> bool:
    """Handle the connection after a response; False keeps it open."""
    if how == "keep":
        return False
    if how == "hang":
        while connection.recv(65_536):
            pass
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


def _converse(connection: socket.socket, on_request: Callable[[bytes], None], on_answered: Callable[[], None]) -> None:
    rest = b""
    while True:
        request, rest = _read_request(connection, rest)
        if not request:
            return
        on_request(request)
        path = request.split(b" ", 2)[1].decode().lstrip("/").partition("?")[0]
        if path in _ENDLESS:
            first, again, pause_s = _ENDLESS[path]
            connection.sendall(first)
            while True:
                connection.sendall(again)
                time.sleep(pause_s)
        if path == "echo":  # the whole request, after as many bytes as the query says
            body = b"." * int(request.split(b" ", 2)[1].partition(b"?")[2]) + request
            connection.sendall(_OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            continue
        sent, how = _SENT[path]
        if path == "retry-after-of":
            sent %= unquote_to_bytes(request.split(b" ", 2)[1].partition(b"?")[2])
        connection.sendall(sent)
        on_answered()
        if _leave(connection, how):
            return


def _shake_hands(connection: ssl.SSLSocket) -> bool:
    """Return whether the handshake succeeded; after a failure, wait until the client has read the alert."""
    try:
        connection.do_handshake()
    except OSError:
        raw = socket.socket(fileno=os.dup(connection.fileno()))
        with raw:
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65_536):
                pass
        return False
    return True


class HostileReceiver:
    """Listens on a free port of 127.0.0.1, with a thread per connection; keeps the requests.

    No response is sent until `gate` is set, no TLS handshake starts until `handshake` is set. `answered` counts
    complete responses.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.resumed: list[bool] = []  # for each TLS connection
        self.clients: list[str | None] = []  # for each TLS request: name in the client certificate
        self.answered = 0
        self._lock = threading.Lock()
        self.gate, self.handshake = threading.Event(), threading.Event()
        self.gate.set()
        self.handshake.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        stop_listening(self._listener)

    def present(self, tls: ssl.SSLContext) -> None:
        """Use another TLS context for further connections."""
        self._tls = tls

    def _accept(self) -> None:
        for connection in connections_of(self._listener):
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.handshake.wait()
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with connection:
                if isinstance(connection, ssl.SSLSocket) and not _shake_hands(connection):
                    return
                client = self._client_name(connection)
                _converse(connection, lambda request: self._on_request(request, client), self._on_answered)

    def _client_name(self, connection: socket.socket) -> str | None:
        """Return the name in the client certificate."""
        if not isinstance(connection, ssl.SSLSocket):
            return None
        self.resumed.append(bool(connection.session_reused))
        subject = (connection.getpeercert() or {}).get("subject", ())
        return next((str(value) for field in subject for _, value in field), None)  # type: ignore[misc]  # typeshed

    def _on_request(self, request: bytes, client: str | None) -> None:
        with self._lock:
            self.requests.append(request)
            self.clients.append(client)
        self.gate.wait()

    def _on_answered(self) -> None:
        self.answered += 1


@contextlib.contextmanager
def hostile_process() -> Iterator[int]:
    """Run a hostile receiver in a process; yields its port."""
    command = [sys.executable, "-m", "tests.support.hostile"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    print(HostileReceiver().port, flush=True)
    sys.stdin.read()  # ends with the process that started this one
    os._exit(0)

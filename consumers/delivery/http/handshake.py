"""The handshake of a new TCP connection, until it can take requests.

    [TLS with the proxy] -> [CONNECT] -> [TLS with the endpoint]

A handshake is a generator. It yields False whenever it has to wait for its socket, and ends when it is complete.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator

from consumers.delivery.http.connection import Connection
from consumers.delivery.http.failures import printable
from consumers.delivery.http.proxy import Proxy, connect_request, status_of, tunnel_error
from consumers.delivery.http.tls import BadIdentity, TlsContexts, not_started, reason_of, tls_failure
from consumers.delivery.http.types import MAX_HEADERS, TransportError


class HandshakeFailed(Exception):
    """The connection cannot be used; `error` is the outcome of its request."""

    def __init__(self, error: TransportError) -> None:
        super().__init__(error.detail)
        self.error = error


def handshake_of(connection: Connection, tls: TlsContexts, proxy: Proxy | None, tunnel_to: str) -> Iterator[bool]:
    """Make a connection ready for requests; HandshakeFailed.

    `tunnel_to` is the `host:port` that the proxy connects to.
    """
    scheme, host, port, identity = connection.key
    if proxy is not None:
        if proxy.scheme == "https":
            connection.phase = "proxy"
            yield from _tls_with_proxy(connection, tls, proxy)
        connection.phase = "tunnel"
        yield from _tunnel(connection, proxy, tunnel_to)
    if scheme == "https":
        connection.phase = "tls"
        try:
            connection.replace_stream(tls.wrap(connection.stream, host, port, identity))
        except (BadIdentity, OSError) as error:  # OSError: the connection was reset meanwhile
            connection.close()
            raise HandshakeFailed(not_started(error)) from None
        try:
            yield from _tls(connection)
        except OSError as error:
            raise HandshakeFailed(tls_failure(error)) from None
    connection.phase = "ready"


def _tls(connection: Connection) -> Iterator[bool]:
    while True:
        try:
            connection.stream.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            yield False
        else:
            return


def _tls_with_proxy(connection: Connection, tls: TlsContexts, proxy: Proxy) -> Iterator[bool]:
    try:
        connection.replace_stream(tls.wrap_for_proxy(connection.stream, proxy.host))
        yield from _tls(connection)
    except OSError as error:
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else reason_of(error)
        detail = f"no connection to the proxy: TLS: {printable(reason)}"
        raise HandshakeFailed(TransportError("proxy_unreachable", detail)) from None


def _tunnel(connection: Connection, proxy: Proxy, tunnel_to: str) -> Iterator[bool]:
    unsent = connect_request(proxy, tunnel_to)
    try:
        while unsent:
            sent = connection.try_send(unsent)
            unsent = unsent[sent:]
            if not sent:
                yield False
        status = 100
        while 100 <= status < 200:  # an interim response
            head = yield from _read_head(connection)
            status = status_of(head)
    except OSError as error:
        detail = f"the proxy ended the connection: {printable(reason_of(error))}"
        raise HandshakeFailed(TransportError("proxy_refused", detail)) from None
    refused = tunnel_error(status)
    if refused is not None:
        raise HandshakeFailed(refused)


def _read_head(connection: Connection) -> Generator[bool, None, bytes]:
    """Return the head of the proxy's response. It is incomplete if the response ends early or is too large.

    The head is read byte by byte, because the bytes after it belong to the endpoint.
    """
    head = b""
    while not head.endswith((b"\r\n\r\n", b"\n\n")) and len(head) < MAX_HEADERS:
        byte = connection.try_receive(1)
        if byte is None:
            yield False
        elif byte:
            head += byte
        else:
            return b""
    return head

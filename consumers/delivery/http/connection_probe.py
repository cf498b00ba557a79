"""Connects to an endpoint as a request does, without sending one: DNS, address policy, TCP, proxy, TLS. Blocks.

    resolve -> connect -> [handshake] -> wait for a refusal -> close

Commands use it. It uses the parts of the HTTP client, so a request would end in the same way.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from consumers.delivery.http.connection import Connection
from consumers.delivery.http.connector import AddressPolicy, ConnectionAttempt
from consumers.delivery.http.exchange import Exchange, connection_ended, resolution_error
from consumers.delivery.http.handshake import HandshakeFailed, handshake_of
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.proxy import connect_to_proxy_error
from consumers.delivery.http.resolver import Addresses, NameResolver
from consumers.delivery.http.tls import TlsContexts, peer_certificate
from consumers.delivery.http.types import ClientIdentity, Request, TransportError
from schemas.network.egress import Target

# How often a wait checks its deadline, and a handshake whether it can write.
_POLL_S: Final = 0.05
# With TLS 1.3 an endpoint refuses a client certificate, or its absence, after the handshake. Its alert needs one way.
_REFUSAL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection was established. `addresses` are those of the endpoint, or of the proxy.

    `certificate` is the endpoint's own certificate in DER; None without TLS.
    """

    addresses: tuple[str, ...]
    certificate: bytes | None


ProbeResult: TypeAlias = Connected | TransportError


class ConnectionProbe:
    """Probes endpoints one after the other; `policy`, `resolver` and `options` are as of HttpClient."""

    def __init__(
        self,
        policy: AddressPolicy,
        resolver: NameResolver,
        options: ClientOptions,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._options = options
        self._monotonic = monotonic
        self._tls = TlsContexts(options.roots)
        self._resolved = threading.Event()
        resolver.wake_by(self._resolved.set)

    def connect(self, target: Target, identity: ClientIdentity | None, timeout_ms: int) -> ProbeResult:
        """Connect to an endpoint, and close the connection. Only the TLS handshake and CONNECT are sent over it."""
        now = self._monotonic()
        request = Request(target, [], b"", timeout_ms, None, identity)
        key = (target.scheme, target.host, target.port, identity)
        exchange = Exchange(request, key, now, now + timeout_ms / 1_000, now)
        found = self._resolve(exchange)
        if isinstance(found, TransportError):
            return found
        exchange.addresses = found
        connected = self._connect(exchange, found)
        if isinstance(connected, TransportError):
            return connected if self._options.proxy is None else connect_to_proxy_error(connected)
        connection = Connection(connected, key, self._options, self._monotonic())
        exchange.connection = connection
        try:
            error = self._shake_hands(exchange, connection, found)
            certificate = peer_certificate(connection.stream) if error is None and target.scheme == "https" else None
        finally:
            connection.close()
        return error or Connected(found.addresses, certificate)

    def close(self) -> None:
        """Drop all queries of the resolver."""
        self._resolver.close()

    def _resolve(self, exchange: Exchange) -> Addresses | TransportError:
        target = exchange.request.target
        while True:
            self._resolved.clear()
            found = self._resolver.lookup(target.host, target.port)
            if isinstance(found, Addresses):
                return found
            if found is not None:
                return resolution_error(found)
            if self._monotonic() > exchange.deadline:
                within = f"within {exchange.request.timeout_ms / 1_000:g} s"
                return TransportError("dns_timeout", f"{target.host}: DNS did not answer {within}")
            self._resolved.wait(_POLL_S)
            self._resolver.ended()

    def _connect(self, exchange: Exchange, found: Addresses) -> socket.socket | TransportError:
        proxy = self._options.proxy
        port = exchange.request.target.port if proxy is None else proxy.port
        now = self._monotonic()
        attempt = ConnectionAttempt(found.addresses, port, self._policy, lambda _fd: None, now, has_room=True)
        try:
            while (error := attempt.error) is None:
                if self._monotonic() > exchange.deadline:
                    return _overdue(exchange)
                for descriptor in _writable(attempt.descriptors):
                    # An earlier one may have closed the others.
                    if descriptor in attempt.descriptors:
                        connected = attempt.ready(descriptor, self._monotonic(), has_room=True)
                        if connected is not None:
                            return connected
                attempt.advance(self._monotonic(), has_room=True)
        finally:
            attempt.close()
        return error

    def _shake_hands(self, exchange: Exchange, connection: Connection, found: Addresses) -> TransportError | None:
        """Make the connection ready for a request; return the error if that fails."""
        proxy = self._options.proxy
        if proxy is None and exchange.request.target.scheme == "http":
            return None
        try:
            for _ in handshake_of(connection, self._tls, proxy, found.tunnel_to):
                _await_data(connection.fd, _POLL_S)
                if self._monotonic() > exchange.deadline:
                    return _overdue(exchange)
        except HandshakeFailed as failed:
            return failed.error
        return self._refusal(connection)

    def _refusal(self, connection: Connection) -> TransportError | None:
        """Wait for a moment, and return the error if the endpoint ends the connection meanwhile."""
        until_s = self._monotonic() + _REFUSAL_S
        while True:
            try:
                data = connection.try_receive()
            except OSError as error:
                return connection_ended(error)
            if data is not None:
                return None if data else TransportError("reset", "the endpoint closed the connection before a request")
            # None: there was nothing, or a message of TLS itself, such as a session ticket.
            left_s = until_s - self._monotonic()
            if left_s <= 0:
                return None
            _await_data(connection.fd, left_s)


def _overdue(exchange: Exchange) -> TransportError:
    overdue = exchange.overdue()
    assert isinstance(overdue, TransportError)  # there is no response without a request
    return overdue


def _writable(descriptors: Sequence[int]) -> list[int]:
    """Wait for a moment, and return the sockets that are connected or have failed."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLOUT)
    return [descriptor for descriptor, _ in poller.poll(_POLL_S * 1_000)]


def _await_data(descriptor: int, timeout_s: float) -> None:
    """Wait for data, or for the end of a connection."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    poller.poll(timeout_s * 1_000)

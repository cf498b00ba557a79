"""The HTTP client: one thread, non-blocking sockets, HTTP/1.1.

    start -> [wait for DNS] ---> [confirm] -> idle connection ------------------------> send -> response -> completed
                                         `-> connect -> [handshake] -> [confirm] ------'

An idle connection that turns out to be dead is replaced once.

Sockets are read before deadlines are checked: a response that arrived while the process was stalled counts.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from socket import socket
from typing import Final

import structlog

from consumers.delivery.http.connection import READ_SIZE, WOULD_BLOCK, Connection
from consumers.delivery.http.connection_pool import ConnectionPool
from consumers.delivery.http.connector import AddressPolicy, Connector
from consumers.delivery.http.exchange import Exchange, connection_ended, resolution_error
from consumers.delivery.http.handshake import HandshakeFailed, handshake_of
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.proxy import connect_to_proxy_error
from consumers.delivery.http.readiness import ENDED, READABLE, Events, new_readiness
from consumers.delivery.http.request_encoder import RequestEncoder
from consumers.delivery.http.resolver import Addresses, NameResolver
from consumers.delivery.http.resolver_queue import ResolverQueue
from consumers.delivery.http.response_parser import BadResponse, parse_complete_response
from consumers.delivery.http.tls import TlsContexts
from consumers.delivery.http.types import (
    CANCELLED,
    MAX_BODY_KEPT,
    RESOLVER_QUEUE_FULL,
    CompletedRequest,
    PollResult,
    Request,
    Response,
    ResponseOrError,
    TransportError,
    response_without_retry_after,
)
from schemas.catalog.failures import OURS

_log = structlog.get_logger("delivery")
_HAS_DATA: Final = READABLE | ENDED
# Errors of this process or of the proxy are logged with their detail, each kind at most this often.
_LOG_EVERY_S: Final = 60.0
# Deadlines are checked at least this often while requests are open.
_CHECK_EVERY_S: Final = 0.05
_EXPIRE_EVERY_S: Final = 5.0
# If the sockets were not read for this long, they are read before an idle connection is used: late bytes on it would be
# taken for the next response.
_POLL_AGAIN_S: Final = 0.01
# A request has to be confirmed if it waited for longer than this since it was started or confirmed.
_CONFIRM_AFTER_S: Final = 0.05


class HttpClient:
    """Runs as many concurrent requests as its caller starts. `monotonic` is in seconds.

    A request that waited for DNS, or long for its connection, is sent only after the caller has confirmed it, because
    the request may have become obsolete. `poll` returns such requests.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        resolver: NameResolver,
        *,
        options: ClientOptions | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options or ClientOptions()
        self._proxy = self._options.proxy
        self._resolver = resolver
        self._monotonic = monotonic
        self._tls = TlsContexts(self._options.roots)
        self._readiness = new_readiness()
        self.wake: Callable[[], None] = self._readiness.wake  # ends a wait of `poll`; any thread may call it
        resolver.wake_by(self.wake)
        self._connector = Connector(policy, self._readiness.watch)
        self._pool = ConnectionPool()
        self._encoder = RequestEncoder()
        self._resolver_queue = ResolverQueue()
        self._open: dict[Exchange, None] = {}
        self._connections: dict[int, Connection] = {}  # by descriptor
        self._queue: deque[Exchange] = deque()  # requests that wait until a connection may be opened
        self._unconfirmed: dict[Request, Exchange] = {}
        self._to_confirm: list[Request] = []  # not returned by `poll` yet
        self._undecided: dict[Request, None] = {}  # returned by the last `poll`
        self._completed: list[CompletedRequest] = []
        self._check_at = math.inf
        self._expire_at = 0.0
        self._polled_at = 0.0
        self._log_at: dict[str, float] = {}

    @property
    def in_flight(self) -> int:
        """Number of requests under way, or completed but not returned yet. Requests that wait for DNS do not count."""
        return len(self._open) + len(self._completed)

    @property
    def resolving(self) -> int:
        """Number of requests that wait for DNS."""
        return self._resolver_queue.requests

    @property
    def is_busy(self) -> bool:
        """Whether `poll` has, or will have, a request to return."""
        return bool(self._open or self._resolver_queue.requests or self._completed)

    def start(self, request: Request) -> bool:
        """Start a request; its timeout counts from now. `poll` returns it when it has ended.

        Return whether it waits for DNS. Its outcome is RESOLVER_QUEUE_FULL if it would have to wait, and too many
        requests already do.
        """
        now = self._monotonic()
        deadline = now + request.timeout_ms / 1_000
        check_at = now + _CHECK_EVERY_S
        if check_at < self._check_at or deadline < self._check_at:
            self._check_at = min(check_at, deadline)
        target = request.target
        queue = self._resolver_queue
        may_wait = queue.is_half_empty or not (queue.is_full or self._resolver.has_hung(target.host))
        found = self._resolver.lookup(target.host, target.port, waits=may_wait)
        key = (target.scheme, target.host, target.port, request.identity)
        exchange = Exchange(request, key, now, deadline, now)
        if type(found) is Addresses:
            exchange.addresses = found
            self._begin(exchange, now)
        elif found is None:
            if may_wait:
                queue.add(exchange)
                return True
            self._complete(exchange, RESOLVER_QUEUE_FULL, now)
        else:
            self._complete(exchange, resolution_error(found), now)
        return False

    def poll(self, timeout_s: float) -> PollResult:
        """Process everything that is ready; wait up to `timeout_s` for a request to return.

        The caller has to `confirm` or `cancel` each request in `to_confirm`. The next call cancels those about
        which the caller has not decided.
        """
        if self._undecided:
            for request in list(self._undecided):
                self.cancel(request)
        if self._open or self._resolver_queue.requests:
            self._turn(0.0)
            has_result = self._completed or self._to_confirm
            if not has_result and timeout_s > 0 and (self._open or self._resolver_queue.requests):
                self._turn(timeout_s)
        if self._to_confirm:
            self._undecided = dict.fromkeys(request for request in self._to_confirm if request in self._unconfirmed)
            self._to_confirm = []
        completed, self._completed = self._completed, []
        return PollResult(completed, list(self._undecided))

    def confirm(self, request: Request) -> None:
        """Send a request that `poll` returned in `to_confirm`. It may have to be confirmed again if it waits again."""
        exchange = self._decide(request)
        if exchange is None:
            return
        now = self._monotonic()
        exchange.confirmed_s = now
        if exchange.connection is None:
            self._begin(exchange, now)
        else:
            self._send_first(exchange, exchange.connection, now)

    def cancel(self, request: Request) -> None:
        """Do not send a request that `poll` returned in `to_confirm`; its outcome is CANCELLED."""
        exchange = self._decide(request)
        if exchange is not None:
            self._end(exchange, CANCELLED, self._monotonic())

    def tidy(self) -> None:
        """Close connections that are too old, or that the other side has ended. Call it every few seconds.

        `poll` does this as well, but only while there are requests.
        """
        if not self.is_busy:
            self._turn(0.0)
            self._check_open(self._monotonic())

    def cancel_matching(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Cancel the requests for which `predicate` is true and return them. `poll` will not return them."""
        cancelled = [exchange for exchange in self._open if predicate(exchange.request)]
        for exchange in cancelled:
            self._drop(exchange)
        cancelled += self._resolver_queue.take_where(lambda exchange: predicate(exchange.request))
        return [exchange.request for exchange in cancelled]

    def close(self) -> None:
        """Cancel all requests, without outcomes, and close all connections."""
        self.cancel_matching(lambda _: True)
        self._resolver.close()
        for connection in list(self._connections.values()):
            self._close(connection)
        self._readiness.close()

    def _turn(self, timeout_s: float) -> None:
        events = self._readiness.wait(0.0 if timeout_s <= 0 else self._pause(timeout_s))
        now = self._monotonic()
        self._process(events, now)  # before new requests: late bytes of an idle connection are not a response to them
        for host in self._resolver.ended():
            self._on_resolved(host)
        if now >= self._check_at:
            self._check_deadlines(now)

    def _pause(self, timeout_s: float) -> float:
        until = min(self._check_at, self._connector.next_s)
        return max(0.0, min(timeout_s, until - self._monotonic()))

    def _process(self, events: Events, now: float) -> None:
        """Handle events of sockets, try further addresses, and serve requests that wait for a connection."""
        self._polled_at = now
        connections = self._connections
        for descriptor, mask in events:
            connection = connections.get(descriptor)
            if connection is None:
                connected = self._connector.ready(descriptor, now)
                if connected is not None:
                    self._on_connected(*connected, now)
            elif connection.exchange is not None:
                self._continue(connection.exchange, connection, mask, now)
            elif connection.has_ended(mask):
                self._pool.remove(connection)
                self._close(connection)
        for exchange, error in self._connector.advance(now):
            self._on_connected(exchange, error, now)
        if self._queue:
            self._serve_queue(now)

    def _continue(self, exchange: Exchange, connection: Connection, mask: int, now: float) -> None:
        """Handle an event of a connection that carries a request."""
        if connection.handshake is not None:
            self._continue_handshake(exchange, connection, now)
        elif exchange.unsent is not None:
            self._continue_sending(exchange, connection, mask, now)
        elif mask & _HAS_DATA and (not self._unconfirmed or exchange.request not in self._unconfirmed):
            self._receive(exchange, connection, mask, now)

    def _on_resolved(self, host: str) -> None:
        """Have the requests that waited for a name confirmed, or end them."""
        for exchange in self._resolver_queue.take(host):
            found = self._resolver.lookup(host, exchange.request.target.port)
            if type(found) is Addresses:
                exchange.addresses = found
                self._open[exchange] = None
                self._require_confirmation(exchange)
            elif found is None:  # the process was stalled for longer than the TTL of the answer
                self._resolver_queue.add(exchange)
            else:
                self._complete(exchange, resolution_error(found), self._monotonic())

    def _require_confirmation(self, exchange: Exchange) -> None:
        """Do not send a request until the caller has confirmed it."""
        self._unconfirmed[exchange.request] = exchange
        self._to_confirm.append(exchange.request)

    def _decide(self, request: Request) -> Exchange | None:
        """Return the exchange of an undecided request; None if the request has ended or is decided."""
        if request not in self._undecided:
            return None
        del self._undecided[request]
        return self._unconfirmed.pop(request, None)

    def _has_to_be_confirmed(self, exchange: Exchange) -> bool:
        return self._monotonic() - exchange.confirmed_s > _CONFIRM_AFTER_S

    def _begin(self, exchange: Exchange, now: float) -> None:
        """Send a request over an idle connection or a new one; its addresses are known."""
        lines = b"".join(exchange.request.headers)
        if b"\n" in lines or b"\r" in lines or b"\0" in lines:
            self._open.pop(exchange, None)
            self._complete(exchange, TransportError("local", "a request header holds a line break"), now)
            return
        if now - self._polled_at > _POLL_AGAIN_S:
            self._process(self._readiness.wait(0.0), now)
        self._open[exchange] = None
        self._assign_connection(exchange, now)

    def _assign_connection(self, exchange: Exchange, now: float) -> None:
        while (connection := self._pool.take(exchange.key)) is not None:
            if not connection.is_stale(now):
                connection.exchange = exchange
                exchange.connection = connection
                self._send(exchange, connection, now)
                return
            self._close(connection)
        self._connect(exchange, now)

    def _connect(self, exchange: Exchange, now: float) -> None:
        """Open a connection, or queue the request until one may be opened."""
        if len(self._connections) + len(self._connector) >= self._options.max_connections:
            oldest = self._pool.evict()
            if oldest is None:
                self._queue.append(exchange)
                return
            self._close(oldest)
        assert exchange.addresses is not None
        port = exchange.key[2] if self._proxy is None else self._proxy.port
        error = self._connector.start(exchange, exchange.addresses.addresses, port, now)
        if error is not None:
            self._on_connected(exchange, error, now)

    def _serve_queue(self, now: float) -> None:
        """Give connections to the requests that wait for one, in their order."""
        reserved = sum(exchange.connection is None for exchange in self._unconfirmed.values())
        used = len(self._connections) + len(self._connector) - len(self._pool)
        room = self._options.max_connections - used - reserved
        while self._queue and room > 0:
            exchange = self._queue.popleft()
            if exchange not in self._open:  # it has ended
                continue
            if self._has_to_be_confirmed(exchange):
                self._require_confirmation(exchange)
            else:
                self._assign_connection(exchange, now)
            room -= 1

    def _on_connected(self, exchange: Exchange, result: socket | TransportError, now: float) -> None:
        if isinstance(result, TransportError):
            self._end(exchange, result if self._proxy is None else connect_to_proxy_error(result), now)
            return
        connection = Connection(result, exchange.key, self._options, now)
        self._connections[connection.fd] = connection
        connection.exchange = exchange
        exchange.connection = connection
        if self._proxy is None and exchange.key[0] == "http":
            self._send_if_confirmed(exchange, connection, now)
            return
        assert exchange.addresses is not None
        connection.handshake = handshake_of(connection, self._tls, self._proxy, exchange.addresses.tunnel_to)
        self._continue_handshake(exchange, connection, now)

    def _continue_handshake(self, exchange: Exchange, connection: Connection, now: float) -> None:
        assert connection.handshake is not None
        try:
            is_ready = next(connection.handshake, True)
        except HandshakeFailed as failed:
            self._end(exchange, failed.error, now)
            return
        if is_ready:
            connection.handshake = None
            self._send_if_confirmed(exchange, connection, now)

    def _send_if_confirmed(self, exchange: Exchange, connection: Connection, now: float) -> None:
        if self._has_to_be_confirmed(exchange):
            self._require_confirmation(exchange)
        else:
            self._send_first(exchange, connection, now)

    def _send_first(self, exchange: Exchange, connection: Connection, now: float) -> None:
        """Send over a new connection, then read: no further event announces bytes that arrived earlier."""
        self._send(exchange, connection, now)
        if exchange in self._open and exchange.connection is connection:
            self._receive(exchange, connection, 0, now)

    def _send(self, exchange: Exchange, connection: Connection, now: float) -> None:
        data = self._encoder.encode(exchange.request)
        try:
            sent: int = connection.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self._on_connection_ended(exchange, connection, error, now)
            return
        if sent < len(data):
            exchange.unsent = memoryview(data)[sent:]

    def _continue_sending(self, exchange: Exchange, connection: Connection, mask: int, now: float) -> None:
        while exchange.unsent is not None:
            try:
                sent = connection.try_send(exchange.unsent)
            except OSError as error:
                self._receive(exchange, connection, mask, now)  # the endpoint may have responded before it closed
                if exchange in self._open and exchange.connection is connection:
                    self._on_connection_ended(exchange, connection, error, now)
                return
            if not sent:
                break
            exchange.unsent = exchange.unsent[sent:] if sent < len(exchange.unsent) else None
        if mask & _HAS_DATA:
            self._receive(exchange, connection, mask, now)

    def _receive(self, exchange: Exchange, connection: Connection, mask: int, now: float) -> None:
        """Read until the response is complete or no more data is there."""
        while True:
            try:
                data: bytes = connection.recv(READ_SIZE)
            except WOULD_BLOCK:
                return
            except OSError as error:
                self._on_connection_ended(exchange, connection, error, now)
                return
            if exchange.parser is None and exchange.unsent is None:
                found = parse_complete_response(data)
                if found is not None:
                    status, begin = found
                    body = data[begin : begin + MAX_BODY_KEPT]
                    kept = response_without_retry_after(status, body, not_kept=len(data) - begin - len(body))
                    self._end(exchange, kept, now, keep=not mask & ENDED and len(data) < READ_SIZE)
                    return
            try:
                response = exchange.receive(data)
            except BadResponse:
                self._on_connection_ended(exchange, connection, None, now)
                return
            if response is not None:
                self._end(exchange, response, now, keep=exchange.leaves_connection and len(data) < READ_SIZE)
                return

    def _on_connection_ended(
        self, exchange: Exchange, connection: Connection, error: OSError | None, now: float
    ) -> None:
        """Replace a connection that had been idle, once; else end the request with the response so far or an error."""
        if exchange.may_retry():
            exchange.connection = None
            exchange.parser = None
            exchange.unsent = None
            self._close(connection)
            self._connect(exchange, now)  # other idle connections may be dead as well
        else:
            self._end(exchange, exchange.response(cut=True) or connection_ended(error), now)

    def _end(self, exchange: Exchange, response: ResponseOrError, now: float, *, keep: bool = False) -> None:
        connection = exchange.connection
        if connection is not None and connection.is_secure and not connection.used and type(response) is Response:
            scheme, host, port, identity = connection.key
            if scheme == "https":
                self._tls.remember(connection.stream, host, port, identity)
        if keep and connection is not None and not connection.holds_more():
            del self._open[exchange]
            connection.become_idle(now)
            self._pool.put(connection)
        else:
            self._drop(exchange)
        self._complete(exchange, response, now)

    def _complete(self, exchange: Exchange, response: ResponseOrError, now: float) -> None:
        if type(response) is TransportError and response.kind in OURS and response.kind != "cancelled":
            self._log_own_error(response, now)
        duration_us = int((now - exchange.started) * 1e6)
        self._completed.append(CompletedRequest(exchange.request, response, exchange.started, duration_us))

    def _log_own_error(self, error: TransportError, now: float) -> None:
        if now >= self._log_at.get(error.kind, 0.0):
            self._log_at[error.kind] = now + _LOG_EVERY_S
            _log.warning("request.send_failed", kind=error.kind, detail=error.detail)

    def _check_deadlines(self, now: float) -> None:
        """End requests that are past their deadline."""
        next_deadline = self._check_open(now)
        for exchange in self._resolver_queue.take_where(lambda waiting: waiting.deadline <= now):
            request = exchange.request
            detail = f"{request.target.host}: DNS did not answer within {request.timeout_ms / 1000:g} s"
            self._complete(exchange, TransportError("dns_timeout", detail), now)
        next_deadline = min(next_deadline, self._resolver_queue.next_deadline())
        self._check_at = min(next_deadline, now + _CHECK_EVERY_S) if self._open else next_deadline

    def _check_open(self, now: float) -> float:
        """End open requests past their deadline, close old connections, return the next deadline.

        Requests to be confirmed do not end here: the caller decides about them first.
        """
        next_deadline = math.inf
        for exchange in list(self._open):
            if exchange.deadline > now:
                next_deadline = min(next_deadline, exchange.deadline)
            elif not self._unconfirmed or exchange.request not in self._unconfirmed:
                self._end(exchange, exchange.overdue(), now)
        if now >= self._expire_at:
            self._expire_at = now + _EXPIRE_EVERY_S
            for connection in self._pool.expire(now):
                self._close(connection)
        return next_deadline

    def _drop(self, exchange: Exchange) -> None:
        """Remove an open request and close its connection."""
        del self._open[exchange]
        if self._unconfirmed:
            self._unconfirmed.pop(exchange.request, None)
            self._undecided.pop(exchange.request, None)
        if exchange.connection is None:
            self._connector.cancel(exchange)
        else:
            self._close(exchange.connection)

    def _close(self, connection: Connection) -> None:
        del self._connections[connection.fd]
        connection.close()

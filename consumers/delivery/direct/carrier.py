"""Requests on their way over sockets of our own.

begin ─► idle connection ─────────────► sent ─► response ─► finished
   └───► dial ─► (TLS handshake) ───────┘  └─ the idle connection was dead: once more
"""

from __future__ import annotations

import math
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from consumers.delivery.answer import MAX_BODY_KEPT, WITHDRAWN, Answer, Request, Responded, Unanswered, responded
from consumers.delivery.carrier import Finish
from consumers.delivery.connections import Connections
from consumers.delivery.direct.dialling import Dialling
from consumers.delivery.direct.exchange import Exchange, ended_by
from consumers.delivery.direct.link import ENDED, NOT_NOW, READ, Link
from consumers.delivery.direct.pool import Pool
from consumers.delivery.direct.response import BadResponse, whole
from consumers.delivery.direct.tls import BadIdentity, Tls, not_begun, tls_failure
from consumers.delivery.direct.wire import Wire
from consumers.delivery.ports import SocketPolicy
from consumers.delivery.readiness import EpollReadiness, Events
from consumers.delivery.resolver import Addresses

_COMES: Final = select.EPOLLIN | ENDED
_SWEEP_EVERY_S: Final = 5.0
# What came over an idle connection meanwhile would be taken for the answer to the next request over it.
_UNSEEN_S: Final = 0.01
# Who has waited so long for its connection is asked for once more: the process may have stood still.
_ASK_AGAIN_S: Final = 0.05


class DirectCarrier:
    """HTTP/1.1, in the clear or over TLS; at most `connections.most` connections, with those that wait."""

    def __init__(
        self,
        policy: SocketPolicy,
        connections: Connections,
        finish: Finish,
        monotonic: Callable[[], float],
        confirm: Callable[[Request], bool],
    ) -> None:
        self._confirm = confirm
        self._connections = connections
        self._finish = finish
        self._monotonic = monotonic
        self._tls = Tls(connections.roots)
        self._readiness = EpollReadiness()
        self._dialling = Dialling(policy, self._readiness.watch)
        self._pool = Pool()
        self._open: dict[Exchange, None] = {}
        self._links: dict[int, Link] = {}
        self._queue: deque[Exchange] = deque()  # no connection may be made for them yet
        self._sweep_s = 0.0
        self._looked_s = 0.0  # when sockets were last asked what has come
        self._wire = Wire()

    @property
    def requests(self) -> int:
        """How many are on their way."""
        return len(self._open)

    def begin(self, request: Request, to: Addresses, started: float, deadline: float) -> None:
        """Send a request to these addresses, over a connection that is there, or a new one."""
        if started - self._looked_s > _UNSEEN_S:
            self.work(self._readiness.wait(0.0), started)
        target = request.target
        exchange = Exchange(request, to, (target.scheme, target.host, target.port, request.identity), started, deadline)
        self._open[exchange] = None
        self._place(exchange, started)

    def wait(self, timeout_s: float) -> Events:
        """Return what has happened, or nothing after the timeout, or earlier where another address is to be tried."""
        return self._readiness.wait(self._dialling.pause(timeout_s, self._monotonic))

    def work(self, events: Events, now: float) -> None:
        """Move what can be moved."""
        self._looked_s = now
        links = self._links
        for descriptor, mask in events:
            link = links.get(descriptor)
            if link is None:
                made = self._dialling.ready(descriptor, now)
                if made is not None:
                    self._dialled(*made, now)
            elif link.work is None:
                if link.has_ended(mask):
                    self._pool.remove(link)
                    self._forget(link)
            elif not link.shaken:
                self._shake(link.work, link, now)
            elif link.work.rest is None:
                if mask & _COMES:
                    self._receive(link.work, link, mask, now)
            else:
                self._advance(link.work, link, mask, now)
        for exchange, failure in self._dialling.go_on(now):
            self._end(exchange, failure, now)
        if self._queue:
            self._take_turns(now)

    def look_over(self, now: float) -> float:
        """End what is past its deadline; return the next deadline."""
        following = math.inf
        for exchange in list(self._open):
            if exchange.deadline <= now:
                self._end(exchange, exchange.late(), now)
            else:
                following = min(following, exchange.deadline)
        if now >= self._sweep_s:
            self._sweep_s = now + _SWEEP_EVERY_S
            for link in self._pool.stale(now):
                self._forget(link)
        return following

    def cancel(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Close the requests of which `predicate` is true and return them; they get no answer."""
        cancelled = [exchange for exchange in self._open if predicate(exchange.request)]
        for exchange in cancelled:
            self._let_go(exchange)
        return [exchange.request for exchange in cancelled]

    def wake(self) -> None:
        """End the wait, or the next one; may be called from another thread."""
        self._readiness.wake()

    def close(self) -> None:
        """Close all connections."""
        self.cancel(lambda _: True)
        for link in list(self._links.values()):
            self._forget(link)
        self._readiness.close()

    def _place(self, exchange: Exchange, now: float) -> bool:
        """Send over a connection that waits, make one, or let the request wait for one; False: it waits."""
        while (link := self._pool.take(exchange.key)) is not None:
            if not link.is_stale(now):
                self._send(exchange, link, now)
                return True
            self._forget(link)
        return self._connect(exchange, now)

    def _connect(self, exchange: Exchange, now: float) -> bool:
        if len(self._links) + len(self._dialling) >= self._connections.most:
            oldest = self._pool.evict()
            if oldest is None:
                self._queue.append(exchange)
                return False
            self._forget(oldest)
        failure = self._dialling.begin(exchange, now)
        if failure is not None:
            self._end(exchange, failure, now)
        return True

    def _dialled(self, exchange: Exchange, made: socket.socket | Unanswered, now: float) -> None:
        """Begin to use a connection that was just made."""
        if isinstance(made, Unanswered):
            self._end(exchange, made, now)
            return
        scheme, host, port, identity = exchange.key
        if scheme == "https":
            try:
                made = self._tls.wrap(made, host, port, identity)
            except (BadIdentity, OSError) as error:  # OSError: it has been reset meanwhile
                made.close()
                self._end(exchange, not_begun(error), now)
                return
        link = self._links[made.fileno()] = Link(made, exchange.key, self._connections, now)
        link.work, exchange.link = exchange, link
        go_on = self._begin_with if link.shaken else self._shake
        go_on(exchange, link, now)

    def _shake(self, exchange: Exchange, link: Link, now: float) -> None:
        try:
            shaken = link.shake()
        except OSError as error:
            self._end(exchange, tls_failure(error), now)
            return
        if shaken:
            self._begin_with(exchange, link, now)

    def _begin_with(self, exchange: Exchange, link: Link, now: float) -> None:
        """Send over a new connection; no edge will tell of what came before."""
        if self._is_withdrawn(exchange, now):
            return
        self._send(exchange, link, now)
        if exchange in self._open and exchange.link is link:
            self._receive(exchange, link, 0, now)

    def _send(self, exchange: Exchange, link: Link, now: float) -> None:
        link.work, exchange.link = exchange, link
        data = self._wire.bytes_of(exchange.request)
        try:
            sent = link.send(data)
        except NOT_NOW:
            sent = 0
        except OSError as error:
            self._broken(exchange, link, error, now)
            return
        if sent < len(data):
            exchange.rest = memoryview(data)[sent:]

    def _advance(self, exchange: Exchange, link: Link, mask: int, now: float) -> None:
        """Send on, and read what has come."""
        while exchange.rest is not None:
            try:
                sent = link.transmit(exchange.rest)
            except OSError as error:
                self._receive(exchange, link, mask, now)  # who ends a connection may have said why
                if exchange in self._open and exchange.link is link:
                    self._broken(exchange, link, error, now)
                return
            if not sent:
                break
            exchange.rest = exchange.rest[sent:] if sent < len(exchange.rest) else None
        if mask & _COMES:
            self._receive(exchange, link, mask, now)

    def _receive(self, exchange: Exchange, link: Link, mask: int, now: float) -> None:
        """Read until there is nothing more, or the response is over."""
        while True:
            try:
                data = link.recv(READ)
            except NOT_NOW:
                return
            except OSError as error:
                self._broken(exchange, link, error, now)
                return
            if exchange.reader is None:
                found = whole(data) if exchange.rest is None else None
                if found is not None:
                    status, begin = found
                    kept = responded(status, data[begin : begin + MAX_BODY_KEPT])
                    self._end(exchange, kept, now, keep=not mask & ENDED and len(data) < READ)
                    return
            try:
                answer = exchange.read(data)
            except BadResponse:
                self._broken(exchange, link, None, now)
                return
            if answer is not None:
                self._end(exchange, answer, now, keep=exchange.leaves_connection and len(data) < READ)
                return

    def _broken(self, exchange: Exchange, link: Link, error: OSError | None, now: float) -> None:
        """A connection ended: the answer so far, once more where it had been idle, or a failure."""
        if exchange.may_begin_again():
            exchange.link = exchange.reader = exchange.rest = None
            self._forget(link)
            self._connect(exchange, now)  # others that wait may be dead as well
        else:
            self._end(exchange, exchange.answer(cut=True) or ended_by(error), now)

    def _end(self, exchange: Exchange, answer: Answer, now: float, *, keep: bool = False) -> None:
        link = exchange.link
        if link is not None and link.is_secure and not link.used and type(answer) is Responded:
            self._tls.remember(link.secured, *link.key[1:])
        if keep and link is not None and not link.holds_more():
            del self._open[exchange]
            link.rests(now)
            self._pool.put(link)
        else:
            self._let_go(exchange)
        self._finish(exchange.request, answer, exchange.started, now)

    def _take_turns(self, now: float) -> None:
        """Let those that waited for a connection have one, in their order."""
        for _ in range(len(self._queue)):
            exchange = self._queue.popleft()
            if exchange in self._open and not (self._is_withdrawn(exchange, now) or self._place(exchange, now)):
                self._queue.rotate(1)  # it keeps its place
                return

    def _is_withdrawn(self, exchange: Exchange, now: float) -> bool:
        """Ask whether a request that had no connection for long may still be sent; else it ends here."""
        if self._monotonic() - exchange.started <= _ASK_AGAIN_S or self._confirm(exchange.request):
            return False
        self._end(exchange, WITHDRAWN, now)
        return True

    def _let_go(self, exchange: Exchange) -> None:
        del self._open[exchange]
        if exchange.link is None:
            self._dialling.hang_up(exchange)
        else:
            self._forget(exchange.link)

    def _forget(self, link: Link) -> None:
        del self._links[link.fd]
        link.close()

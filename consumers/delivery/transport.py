"""Requests out, answers in, driven by one thread that never waits for one receiver.

    start ─► (name known?) ─► waiting ─► carrier ─► answered
                    └────────────────────┘

What carries a request once its addresses are known: sockets of our own (direct/), or libcurl (libcurl.py) through a
proxy and for HTTP/2. Deadlines are kept here: after the thread stood still, sockets are read before anything is called
late.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable
from typing import Final

import structlog

from consumers.delivery.answer import CROWDED, WITHDRAWN, Answer, Answered, Request, Responded, Unanswered
from consumers.delivery.carrier import Carrier, Finish
from consumers.delivery.connections import Connections
from consumers.delivery.direct.carrier import DirectCarrier
from consumers.delivery.libcurl import CurlCarrier
from consumers.delivery.name_queue import NameQueue, Waiting
from consumers.delivery.ports import Names, SocketPolicy
from consumers.delivery.resolver import Addresses, Failed, Refused, Resolution
from schemas.failures import OURS

__all__ = ["Answer", "Answered", "Request", "Responded", "Transport", "Unanswered"]

_log = structlog.get_logger("delivery")
# What no endpoint can mend is logged with its words, so often at most, each kind.
_TELL_EVERY_S: Final = 60.0
# Open requests are looked over this often at least, for headers that never end.
_LOOK_EVERY_S: Final = 0.05


class Transport:
    """Up to as many requests at once as its caller starts. `monotonic` is in seconds.

    `confirm` is asked before a request that waited for its host's name, or long for its connection, is sent: by then
    its caller may know better.
    """

    def __init__(
        self,
        policy: SocketPolicy,
        resolver: Names,
        *,
        connections: Connections | None = None,
        confirm: Callable[[Request], bool] = lambda _request: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._confirm = confirm
        self._monotonic = monotonic
        self._carrier = _carrier(policy, connections or Connections(), self._finish, monotonic, confirm)
        resolver.wake_by(self._carrier.wake)
        self._names = NameQueue()
        self._done: list[Answered] = []
        self._look_at = math.inf
        self._tell_at: dict[str, float] = {}

    @property
    def in_flight(self) -> int:
        """How many requests are under way, or ended without `work` having told; none that waits for a name."""
        return self._carrier.requests + len(self._done)

    @property
    def resolving(self) -> int:
        """How many requests wait for the name of their host."""
        return self._names.requests

    @property
    def is_busy(self) -> bool:
        """Whether `work` has, or will have, anything to tell."""
        return bool(self._carrier.requests or self._names.requests or self._done)

    def start(self, request: Request) -> bool:
        """Begin a request; its time runs from here on. Whatever comes of it, `work` returns it.

        True: it waits for the name of its host. Where that is not known and too many wait for names already its answer
        is CROWDED.
        """
        now = self._monotonic()
        deadline = now + request.timeout_ms / 1_000
        look_at = now + _LOOK_EVERY_S
        if look_at < self._look_at or deadline < self._look_at:
            self._look_at = min(look_at, deadline)
        target = request.target
        names = self._names
        may_wait = names.is_half_empty or not (names.is_full or self._resolver.has_hung(target.host))
        found = self._resolver.lookup(target.host, target.port, waits=may_wait)
        if type(found) is Addresses:
            self._begin(request, found, now, deadline)
        elif found is None:
            if may_wait:
                names.add(Waiting(request, now, deadline))
                return True
            self._finish(request, CROWDED, now, now)
        else:
            self._finish(request, _unresolved(found), now, now)
        return False

    def work(self, timeout_s: float) -> list[Answered]:
        """Move what can be moved; return what has ended, waiting up to `timeout_s` for the first."""
        if self._carrier.requests or self._names.requests:
            self._turn(0.0)
            if not self._done and timeout_s > 0 and (self._carrier.requests or self._names.requests):
                self._turn(timeout_s)
        done, self._done = self._done, []
        return done

    def tidy(self) -> None:
        """Close connections that have been idle for long, or that the other side has ended; asked every few seconds.

        `work` does so while there are requests, and nothing without.
        """
        if not self.is_busy:
            self._turn(0.0)
            self._carrier.look_over(self._monotonic())

    def cancel(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Close the requests of which `predicate` is true and return them; they get no answer."""
        cancelled = self._carrier.cancel(predicate)
        cancelled += [waiting.request for waiting in self._names.take_where(lambda waiting: predicate(waiting.request))]
        return cancelled

    def close(self) -> None:
        """Close all requests without an answer, and all connections."""
        self.cancel(lambda _: True)
        self._resolver.close()
        self._carrier.close()

    def _turn(self, timeout_s: float) -> None:
        carrier = self._carrier
        events = carrier.wait(0.0 if timeout_s <= 0 else self._pause(timeout_s))
        now = self._monotonic()
        carrier.work(events, now)  # first: what came over an idle connection is no answer to what begins now
        for host in self._resolver.ended():
            self._resolved(host)
        if now >= self._look_at:
            self._look_over(now)

    def _pause(self, timeout_s: float) -> float:
        return max(0.0, min(timeout_s, self._look_at - self._monotonic()))

    def _begin(self, request: Request, addresses: Addresses, started: float, deadline: float) -> None:
        head = b"".join(request.headers)
        if b"\n" in head or b"\r" in head or b"\0" in head:
            self._finish(request, Unanswered("local", "a request header holds a line break"), started, started)
            return
        self._carrier.begin(request, addresses, started, deadline)

    def _resolved(self, host: str) -> None:
        """Begin, or end, what waited for a name."""
        for waited in self._names.take(host):
            found = self._resolver.lookup(host, waited.request.target.port)
            if type(found) is Addresses:
                if self._confirm(waited.request):
                    self._begin(waited.request, found, waited.started, waited.deadline)
                else:
                    self._finish(waited.request, WITHDRAWN, waited.started, self._monotonic())
            elif found is None:  # its answer lived no longer than the thread stood still
                self._names.add(waited)
            else:
                self._finish(waited.request, _unresolved(found), waited.started, self._monotonic())

    def _finish(self, request: Request, answer: Answer, started: float, now: float) -> None:
        if type(answer) is Unanswered and answer.kind in OURS and answer.kind != "withdrawn":
            self._tell(answer, now)
        self._done.append(Answered(request, answer, started, int((now - started) * 1e6)))

    def _tell(self, answer: Unanswered, now: float) -> None:
        if now >= self._tell_at.get(answer.kind, 0.0):
            self._tell_at[answer.kind] = now + _TELL_EVERY_S
            _log.warning("delivery.trouble", kind=answer.kind, detail=answer.detail)

    def _look_over(self, now: float) -> None:
        """End what is past its deadline, or sends headers without end."""
        following = self._carrier.look_over(now)
        for late in self._names.take_where(lambda waiting: waiting.deadline <= now):
            detail = f"{late.request.target.host}: no answer of DNS within {late.request.timeout_ms / 1000:g} s"
            self._finish(late.request, Unanswered("dns_timeout", detail), late.started, now)
        following = self._names.next_deadline(following)
        self._look_at = min(following, now + _LOOK_EVERY_S) if self._carrier.requests else following


def _carrier(
    policy: SocketPolicy,
    connections: Connections,
    finish: Finish,
    monotonic: Callable[[], float],
    confirm: Callable[[Request], bool],
) -> Carrier:
    """Return libcurl for what it alone can do, else sockets of our own."""
    if connections.proxy is not None or connections.http2 or not hasattr(select, "epoll"):
        return CurlCarrier(policy, connections, finish)
    return DirectCarrier(policy, connections, finish, monotonic, confirm)


def _unresolved(found: Resolution) -> Unanswered:
    match found:
        case Refused(reason=reason):
            return Unanswered("blocked_address", reason)
        case Failed(kind=kind, detail=detail):
            return Unanswered(kind, detail)
    raise AssertionError(found)

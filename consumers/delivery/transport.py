"""Requests out, answers in: libcurl's multi interface, driven by one thread that never waits for one receiver.

    start ─► (name known?) ─► waiting ─► open ─► answered
                    └────────────────────┘

Deadlines are kept here, not by libcurl: after the thread stood still, sockets are read before anything is called late.
"""

from __future__ import annotations

import errno
import math
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import pycurl
import structlog

from consumers.delivery.answer import CROWDED, WITHDRAWN, Answer, Answered, Request, Responded, Unanswered
from consumers.delivery.connections import Connections, multi_options
from consumers.delivery.easy_handle import Handle
from consumers.delivery.name_queue import NameQueue, Waiting
from consumers.delivery.ports import Names, SocketPolicy
from consumers.delivery.readiness import SelectReadiness, readiness_for
from consumers.delivery.resolver import Addresses, Failed, Refused, Resolution
from schemas.failures import OURS

__all__ = ["Answer", "Answered", "Request", "Responded", "Transport", "Unanswered"]

_log = structlog.get_logger("delivery")
# What no endpoint can mend is logged with its words, so often at most, each kind.
_TELL_EVERY_S: Final = 60.0
# Open requests are looked over this often at least, for headers that never end.
_LOOK_EVERY_S: Final = 0.05
# libcurl fills its buffer of 64 KiB once per `perform` and counts on `select` to tell that the socket takes more: no
# edge says so. What is certain to go out with one write needs none.
_ONE_WRITE: Final = 32 * 1024
# Hosts whose way of answering is remembered.
_MAX_HOSTS: Final = 10_000
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Transport:
    """Up to as many requests at once as its caller starts. `monotonic` is in seconds.

    `confirm` is asked before a request that waited for its host's name is sent: by then its caller may know better.
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
        self._policy = policy
        self._resolver = resolver
        self._confirm = confirm
        self._monotonic = monotonic
        self._connections = connections or Connections()
        self._multi: Any = pycurl.CurlMulti()
        for option, value in multi_options(self._connections):
            self._multi.setopt(option, value)
        self._readiness = readiness_for(self._multi)
        self._by_select = SelectReadiness(self._multi)
        resolver.wake_by(self._readiness.wake)
        self._idle: list[Handle] = []
        self._open: set[Handle] = set()
        self._names = NameQueue()
        self._uploads = 0  # open requests whose body may take several writes
        self._done: list[Answered] = []
        self._look_at = math.inf
        self._tell_at: dict[str, float] = {}
        # libcurl duplicates the sockets that it is given: the originals are closed once it has.
        self._originals: list[socket.socket] = []
        # Header lines cost about a tenth of a request to look at, and CURLINFO tells the same of a response that
        # declares its length. True: this host does so; False: it once did not, and is watched from then on.
        self._declares: dict[str, bool] = {}

    @property
    def in_flight(self) -> int:
        """How many requests are under way, or ended without `work` having told; none that waits for a name."""
        return len(self._open) + len(self._done)

    @property
    def resolving(self) -> int:
        """How many requests wait for the name of their host."""
        return self._names.requests

    @property
    def is_busy(self) -> bool:
        """Whether `work` has, or will have, anything to tell."""
        return bool(self._open or self._names.requests or self._done)

    def start(self, request: Request) -> None:
        """Begin a request; its time runs from here on. Whatever comes of it, `work` returns it.

        Its answer is CROWDED where its host is not known and too many wait for names already.
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
            else:
                self._finish(request, CROWDED, now, now)
        else:
            self._finish(request, _unresolved(found), now, now)

    def work(self, timeout_s: float) -> list[Answered]:
        """Move what can be moved; return what has ended, waiting up to `timeout_s` for the first."""
        if self._open or self._names.requests:
            self._turn(0.0)
            if not self._done and timeout_s > 0 and (self._open or self._names.requests):
                self._turn(timeout_s)
        done, self._done = self._done, []
        return done

    def cancel(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Close the requests of which `predicate` is true and return them; they get no answer."""
        cancelled = []
        for handle in [handle for handle in self._open if handle.request is not None and predicate(handle.request)]:
            assert handle.request is not None
            cancelled.append(handle.request)
            self._release(handle)
        cancelled += [waiting.request for waiting in self._names.take_where(lambda waiting: predicate(waiting.request))]
        return cancelled

    def close(self) -> None:
        """Close all requests without an answer, and all connections."""
        self.cancel(lambda _: True)
        self._resolver.close()
        for handle in self._idle:
            handle.close()
        self._idle.clear()
        self._multi.close()
        self._close_originals()
        self._readiness.close()

    def _turn(self, timeout_s: float) -> None:
        readiness = self._by_select if self._uploads else self._readiness
        happened = readiness.wait(self._pause(timeout_s))
        for host in self._resolver.ended():
            self._resolved(host)
        now = self._monotonic()
        # `perform` looks at every open request; with hundreds that wait for slow receivers that is dear, and mostly for
        # nothing. libcurl's timeout is 0 where a request is new or a timer of its own has run out.
        if happened or now >= self._look_at or self._multi.timeout() == 0:
            self._multi.perform()
            self._collect()
            if self._originals:
                self._close_originals()
            if now >= self._look_at:
                self._look_over(now)

    def _pause(self, timeout_s: float) -> float:
        if timeout_s <= 0:
            return 0.0
        libcurl_ms = self._multi.timeout()
        most = timeout_s if libcurl_ms < 0 else min(timeout_s, libcurl_ms / 1_000)
        return max(0.0, min(most, self._look_at - self._monotonic()))

    def _begin(self, request: Request, addresses: Addresses, started: float, deadline: float) -> None:
        head = b"".join(request.headers)
        if b"\n" in head or b"\r" in head or b"\0" in head:
            self._finish(request, Unanswered("local", "a request header holds a line break"), started, started)
            return
        handle = self._idle.pop() if self._idle else Handle(self._open_socket, self._readiness.watch, self._connections)
        watched = not self._declares.get(request.target.host)
        handle.begin(request, addresses, started, deadline, watched=watched)
        self._open.add(handle)
        if len(request.body) > _ONE_WRITE:
            self._uploads += 1
        self._multi.add_handle(handle.easy)

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

    def _collect(self) -> None:
        _, ended, failed = self._multi.info_read()
        if not (ended or failed):
            return
        now = self._monotonic()
        for easy in ended:
            handle: Handle = easy.handle
            self._answer(handle, handle.ended(), now)
        for easy, code, message in failed:
            handle = easy.handle
            self._answer(handle, handle.failed(code, message), now)

    def _answer(self, handle: Handle, answer: Answer, now: float) -> None:
        request = handle.request
        assert request is not None
        self._learn(request.target.host, handle, answer)
        self._finish(request, answer, handle.started, now)
        self._release(handle)

    def _learn(self, host: str, handle: Handle, answer: Answer) -> None:
        """Remember whether a host declares the length of its responses."""
        good = type(answer) is Responded and answer.status < 300
        if handle.watched:
            if good and handle.declares_length and host not in self._declares:
                if len(self._declares) >= _MAX_HOSTS:
                    self._declares.clear()
                self._declares[host] = True
        elif not good:
            if type(answer) is Unanswered and handle.is_in_doubt:
                self._declares[host] = False
            else:
                self._declares.pop(host, None)

    def _finish(self, request: Request, answer: Answer, started: float, now: float) -> None:
        if type(answer) is Unanswered and answer.kind in OURS and answer.kind != "withdrawn":
            self._tell(answer, now)
        self._done.append(Answered(request, answer, started, int((now - started) * 1e6)))

    def _tell(self, answer: Unanswered, now: float) -> None:
        if now >= self._tell_at.get(answer.kind, 0.0):
            self._tell_at[answer.kind] = now + _TELL_EVERY_S
            _log.warning("delivery.trouble", kind=answer.kind, detail=answer.detail)

    def _release(self, handle: Handle) -> None:
        self._open.discard(handle)
        if handle.request is not None and len(handle.request.body) > _ONE_WRITE:
            self._uploads -= 1
        self._multi.remove_handle(handle.easy)  # closes the connection of a transfer that has not ended
        if handle.large:
            handle.close()  # libcurl keeps the header lines with it
        else:
            handle.rest()
            self._idle.append(handle)

    def _look_over(self, now: float) -> None:
        """End what is past its deadline or sends headers without end."""
        following = math.inf
        for handle in list(self._open):
            if handle.deadline <= now:
                self._answer(handle, handle.expired(), now)
            elif handle.has_large_headers():
                self._answer(handle, handle.failed(pycurl.E_WRITE_ERROR, ""), now)
            else:
                following = min(following, handle.deadline)
        for late in self._names.take_where(lambda waiting: waiting.deadline <= now):
            detail = f"{late.request.target.host}: no answer of DNS within {late.request.timeout_ms / 1000:g} s"
            self._finish(late.request, Unanswered("dns_timeout", detail), late.started, now)
        following = self._names.next_deadline(following)
        self._look_at = min(following, now + _LOOK_EVERY_S) if self._open else following

    def _open_socket(self, handle: Handle, address: Any) -> Any:
        """Check the address once more, where it is connected to (called by libcurl)."""
        reason = self._policy.refusal(address.addr[0])
        if reason is not None:
            handle.trouble = Unanswered("blocked_address", f"an address may not be connected to: {reason}")
            return pycurl.SOCKET_BAD
        try:
            original = socket.socket(address.family, address.socktype, address.protocol)
        except OSError as error:  # an address family that is not there is the name's trouble, not ours
            if error.errno in _OURS:
                handle.trouble = Unanswered("local", f"no socket: {error.strerror}")
            return pycurl.SOCKET_BAD
        self._originals.append(original)
        return original

    def _close_originals(self) -> None:
        for original in self._originals:
            original.close()
        self._originals.clear()


def _unresolved(found: Resolution) -> Unanswered:
    match found:
        case Refused(reason=reason):
            return Unanswered("blocked_address", reason)
        case Failed(kind=kind, detail=detail):
            return Unanswered(kind, detail)
    raise AssertionError(found)

"""Requests on their way by libcurl's multi interface: through a forward proxy, with HTTP/2, where there is no epoll."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any, Final

import pycurl

from consumers.delivery.answer import Answer, Request, Responded, Unanswered
from consumers.delivery.carrier import Finish
from consumers.delivery.connections import Connections, multi_options
from consumers.delivery.easy_handle import Handle
from consumers.delivery.failures import forbidden_address, no_socket
from consumers.delivery.ports import SocketPolicy
from consumers.delivery.readiness import Events, SelectReadiness, readiness_for
from consumers.delivery.resolver import Addresses

# libcurl fills its buffer of 64 KiB once per `perform` and counts on `select` to tell that the socket takes more: no
# edge says so. What is certain to go out with one write needs none.
_ONE_WRITE: Final = 32 * 1024
# Hosts whose way of answering is remembered.
_MAX_HOSTS: Final = 10_000


class CurlCarrier:
    """One multi handle; what ends is told by `finish`."""

    def __init__(self, policy: SocketPolicy, connections: Connections, finish: Finish) -> None:
        self._policy = policy
        self._connections = connections
        self._finish = finish
        self._multi = _multi(connections)
        self._readiness = readiness_for(self._multi)
        self._by_select = SelectReadiness(self._multi)
        self._used_s = math.inf  # when there was a request last; infinite: never, as far as connections are concerned
        self._idle: list[Handle] = []
        self._open: set[Handle] = set()
        self._uploads = 0  # open requests whose body may take several writes
        # libcurl duplicates the sockets that it is given: the originals are closed once it has.
        self._originals: list[socket.socket] = []
        # Header lines cost about a tenth of a request to look at, and CURLINFO tells the same of a response that
        # declares its length. True: this host does so; False: it once did not, and is watched from then on.
        self._declares: dict[str, bool] = {}

    @property
    def requests(self) -> int:
        """How many are on their way."""
        return len(self._open)

    def begin(self, request: Request, to: Addresses, started: float, deadline: float) -> None:
        """Send a request to these addresses."""
        handle = self._idle.pop() if self._idle else Handle(self._open_socket, self._readiness.watch, self._connections)
        watched = not self._declares.get(request.target.host)
        handle.begin(request, to, started, deadline, watched=watched)
        self._open.add(handle)
        self._used_s = started
        if len(request.body) > _ONE_WRITE:
            self._uploads += 1
        self._multi.add_handle(handle.easy)

    def wait(self, timeout_s: float) -> Events:
        """Return what has happened, or nothing after the timeout, or earlier where a timer of libcurl runs out."""
        libcurl_ms = self._multi.timeout()
        if libcurl_ms >= 0:
            timeout_s = min(timeout_s, libcurl_ms / 1_000)
        readiness = self._by_select if self._uploads else self._readiness
        return readiness.wait(max(0.0, timeout_s))

    def work(self, events: Events, now: float) -> None:
        """Move what can be moved."""
        # `perform` looks at every open request; with hundreds that wait for slow receivers that is dear, and mostly for
        # nothing. libcurl's timeout is 0 where a request is new or a timer of its own has run out.
        if events or self._multi.timeout() == 0:
            self._perform(now)

    def look_over(self, now: float) -> float:
        """End what is past its deadline or sends headers without end; return the next deadline."""
        self._perform(now)
        following = math.inf
        for handle in list(self._open):
            if handle.deadline <= now:
                self._answer(handle, handle.expired(), now)
            elif handle.has_large_headers():
                self._answer(handle, handle.failed(pycurl.E_WRITE_ERROR, ""), now)
            else:
                following = min(following, handle.deadline)
        if self._open:
            self._used_s = now
        elif now - self._used_s > self._connections.idle_s:
            self._begin_anew()
        return following

    def cancel(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Close the requests of which `predicate` is true and return them; they get no answer."""
        cancelled = []
        for handle in [handle for handle in self._open if handle.request is not None and predicate(handle.request)]:
            assert handle.request is not None
            cancelled.append(handle.request)
            self._release(handle)
        return cancelled

    def wake(self) -> None:
        """End the wait, or the next one; may be called from another thread."""
        self._readiness.wake()

    def close(self) -> None:
        """Close all connections."""
        self.cancel(lambda _: True)
        for handle in self._idle:
            handle.close()
        self._idle.clear()
        self._multi.close()
        self._close_originals()
        self._readiness.close()

    def _begin_anew(self) -> None:
        """Close connections that nobody has used for long: libcurl looks at their age when it takes one, not before."""
        self._used_s = math.inf
        self._multi.close()
        self._multi = _multi(self._connections)
        self._by_select = SelectReadiness(self._multi)
        if isinstance(self._readiness, SelectReadiness):
            self._readiness = self._by_select

    def _perform(self, now: float) -> None:
        self._multi.perform()
        _, ended, failed = self._multi.info_read()
        for easy in ended:
            handle: Handle = easy.handle
            self._answer(handle, handle.ended(), now)
        for easy, code, message in failed:
            handle = easy.handle
            self._answer(handle, handle.failed(code, message), now)
        if self._originals:
            self._close_originals()

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

    def _open_socket(self, handle: Handle, address: Any) -> Any:
        """Check the address once more, where it is connected to (called by libcurl)."""
        reason = self._policy.refusal(address.addr[0])
        if reason is not None:
            handle.trouble = forbidden_address(reason)
            return pycurl.SOCKET_BAD
        try:
            original = socket.socket(address.family, address.socktype, address.protocol)
        except OSError as error:
            handle.trouble = no_socket(error) or handle.trouble
            return pycurl.SOCKET_BAD
        self._originals.append(original)
        return original

    def _close_originals(self) -> None:
        for original in self._originals:
            original.close()
        self._originals.clear()


def _multi(connections: Connections) -> Any:
    multi = pycurl.CurlMulti()
    for option, value in multi_options(connections):
        multi.setopt(option, value)
    return multi

"""All connections that are being made, by their descriptors."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from typing import Final

from consumers.delivery.answer import Unanswered
from consumers.delivery.direct.dial import Dial
from consumers.delivery.direct.exchange import Exchange
from consumers.delivery.ports import SocketPolicy

# Sockets beside the first of each: those of names with many addresses that do not answer are not to use up all that a
# process may open (deploy/transport.py leaves 256 beyond what is for connections).
_MOST_BESIDE: Final = 64


class Dialling:
    """Makes connections for exchanges; `watch` is told of each new descriptor. Times are monotonic, in seconds."""

    def __init__(self, policy: SocketPolicy, watch: Callable[[int], None]) -> None:
        self._policy = policy
        self._watch = watch
        self._dials: dict[Exchange, Dial] = {}
        self._by_descriptor: dict[int, Exchange] = {}
        self._next_s = math.inf  # when another address of one of them is to be tried

    def __len__(self) -> int:
        return len(self._dials)

    def pause(self, timeout_s: float, monotonic: Callable[[], float]) -> float:
        """Return for how long nothing is to be tried, at most `timeout_s`."""
        return timeout_s if self._next_s == math.inf else min(timeout_s, max(0.0, self._next_s - monotonic()))

    def begin(self, exchange: Exchange, now: float) -> Unanswered | None:
        """Begin to connect; returns why that is not possible."""
        to, port = exchange.to.addresses, exchange.key[2]
        dial = self._dials[exchange] = Dial(to, port, self._policy, self._watch, now, has_room=self._has_room)
        return self._note(exchange, dial)

    def ready(self, descriptor: int, now: float) -> tuple[Exchange, socket.socket | Unanswered] | None:
        """Look at a descriptor that something happened to: a connection that is made, why there is none, or None."""
        exchange = self._by_descriptor.get(descriptor)
        if exchange is None:
            return None
        dial = self._dials[exchange]
        before = dial.descriptors
        connection = dial.ready(descriptor, now)
        for one in before:
            del self._by_descriptor[one]
        if connection is not None:
            del self._dials[exchange]
            return exchange, connection
        failure = self._note(exchange, dial)
        return None if failure is None else (exchange, failure)

    def go_on(self, now: float) -> Iterator[tuple[Exchange, Unanswered]]:
        """Try further addresses where it is time to; yields those for which there is none left."""
        if now < self._next_s:
            return
        self._next_s = math.inf
        for exchange, dial in list(self._dials.items()):
            before = dial.descriptors
            dial.go_on(now)
            for one in before:
                del self._by_descriptor[one]
            failure = self._note(exchange, dial)
            if failure is not None:
                yield exchange, failure

    def hang_up(self, exchange: Exchange) -> None:
        """Give up a connection that is being made, if there is one."""
        dial = self._dials.pop(exchange, None)
        if dial is not None:
            for descriptor in dial.descriptors:
                self._by_descriptor.pop(descriptor, None)
            dial.close()

    def _has_room(self) -> bool:
        return len(self._by_descriptor) - len(self._dials) < _MOST_BESIDE

    def _note(self, exchange: Exchange, dial: Dial) -> Unanswered | None:
        for descriptor in dial.descriptors:
            self._by_descriptor[descriptor] = exchange
        failure = dial.failure
        if failure is None:
            self._next_s = min(self._next_s, dial.next_s)
        else:
            del self._dials[exchange]
        return failure

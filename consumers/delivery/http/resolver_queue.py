"""Requests that wait for DNS. They have limits of their own and do not count as in flight.

Names that never resolve therefore hold no permit of a request, and no more memory than the limits allow. The second
half of the queue is reserved for names that are not known to hang.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from consumers.delivery.http.exchange import Exchange

# Requests that wait for DNS must not use up the 2,000 unfinished offsets of a partition (partitions/progress.py).
MAX_REQUESTS: Final = 1_024
# A quarter of the record bytes that a process keeps in memory.
MAX_BYTES: Final = 8 * 1024 * 1024


class ResolverQueue:
    """Exchanges by the host name that they wait for."""

    def __init__(self) -> None:
        self._by_host: dict[str, list[Exchange]] = {}
        self.requests = 0
        self._bytes = 0
        # While true, requests for any name may wait. An attribute, because it is read for every request.
        self.is_half_empty = True

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        return self.requests >= MAX_REQUESTS or self._bytes >= MAX_BYTES

    def add(self, exchange: Exchange) -> None:
        """Add a request."""
        self._by_host.setdefault(exchange.request.target.host, []).append(exchange)
        self._count(1, len(exchange.request.body))

    def take(self, host: str) -> list[Exchange]:
        """Remove and return the requests that wait for a name."""
        taken = self._by_host.pop(host, [])
        for exchange in taken:
            self._count(-1, -len(exchange.request.body))
        return taken

    def take_where(self, predicate: Callable[[Exchange], bool]) -> list[Exchange]:
        """Remove and return the requests for which `predicate` is true."""
        taken = []
        for host in list(self._by_host):
            if any(predicate(exchange) for exchange in self._by_host[host]):
                for exchange in self.take(host):
                    if predicate(exchange):
                        taken.append(exchange)
                    else:
                        self.add(exchange)
        return taken

    def next_deadline(self) -> float:
        """Return the earliest deadline of the requests; infinity if there are none."""
        deadlines = (exchange.deadline for exchanges in self._by_host.values() for exchange in exchanges)
        return min(deadlines, default=math.inf)

    def _count(self, requests: int, size: int) -> None:
        self.requests += requests
        self._bytes += size
        self.is_half_empty = self.requests < MAX_REQUESTS // 2 and self._bytes < MAX_BYTES // 2

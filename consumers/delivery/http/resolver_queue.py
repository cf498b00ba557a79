"""Requests that wait for the name of their host. They count apart from requests in flight and have limits of their own.

Names that never answer therefore take no place of a request and no more memory than the limits allow. The second half
of the queue is for names that are not known to hang.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.delivery.http.exchange import Exchange

# A partition commits at most 2,000 offsets beyond an unfinished one: waiting for names must not use that up.
MAX_REQUESTS: Final = 1_024
# A quarter of what a process takes into memory at once.
MAX_BYTES: Final = 8 * 1024 * 1024


class ResolverQueue:
    """Exchanges by the name that they wait for."""

    def __init__(self) -> None:
        self._by_host: dict[str, list[Exchange]] = {}
        self.requests = 0
        self._bytes = 0
        # An attribute, as it is read for every request: while it is true, requests for any name may wait.
        self.is_half_empty = True

    @property
    def is_full(self) -> bool:
        """Whether no further request may wait."""
        return self.requests >= MAX_REQUESTS or self._bytes >= MAX_BYTES

    def add(self, exchange: Exchange) -> None:
        """Let a request wait for its host."""
        self._by_host.setdefault(exchange.request.target.host, []).append(exchange)
        self._count(1, len(exchange.request.body))

    def take(self, host: str) -> list[Exchange]:
        """Take what waits for a name."""
        taken = self._by_host.pop(host, [])
        for exchange in taken:
            self._count(-1, -len(exchange.request.body))
        return taken

    def take_where(self, predicate: Callable[[Exchange], bool]) -> list[Exchange]:
        """Take those of which `predicate` is true."""
        taken = []
        for host in list(self._by_host):
            if any(predicate(exchange) for exchange in self._by_host[host]):
                for exchange in self.take(host):
                    if predicate(exchange):
                        taken.append(exchange)
                    else:
                        self.add(exchange)
        return taken

    def next_deadline(self, otherwise: float) -> float:
        """Return the earliest deadline of what waits, or `otherwise` if that is earlier."""
        return min(otherwise, *(exchange.deadline for here in self._by_host.values() for exchange in here), otherwise)

    def _count(self, requests: int, size: int) -> None:
        self.requests += requests
        self._bytes += size
        self.is_half_empty = self.requests < MAX_REQUESTS // 2 and self._bytes < MAX_BYTES // 2

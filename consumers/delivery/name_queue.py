"""Requests that wait for the name of their host: counted apart from those under way, and bounded by themselves.

Names that never answer keep nobody from a place, then, and hold no more memory than is said here. Half of the room is
for names of which it is not known that they hang.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consumers.delivery.answer import Request

# A partition commits at most 2,000 offsets beyond one that is not finished: waiting for names is not to use that up.
MAX_WAITING: Final = 1_024
# A quarter of what a process takes into memory at once.
MAX_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class Waiting:
    """A request whose host is being resolved; times are on the transport's clock, in seconds."""

    request: Request
    started: float
    deadline: float


class NameQueue:
    """Who waits for which name."""

    def __init__(self) -> None:
        self._by_host: dict[str, list[Waiting]] = {}
        self.requests = 0
        self._bytes = 0
        # Whether anybody may wait, known to hang or not: what nearly always holds, at the price of an attribute.
        self.is_half_empty = True

    @property
    def is_full(self) -> bool:
        """Whether nobody may wait any more."""
        return self.requests >= MAX_WAITING or self._bytes >= MAX_BYTES

    def add(self, waiting: Waiting) -> None:
        """Let a request wait for its host."""
        self._by_host.setdefault(waiting.request.target.host, []).append(waiting)
        self._count(1, len(waiting.request.body))

    def take(self, host: str) -> list[Waiting]:
        """Take what waits for a name."""
        taken = self._by_host.pop(host, [])
        for waiting in taken:
            self._count(-1, -len(waiting.request.body))
        return taken

    def take_where(self, predicate: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take those of which `predicate` is true."""
        taken = []
        for host in list(self._by_host):
            if any(predicate(waiting) for waiting in self._by_host[host]):
                here = self.take(host)
                taken += [waiting for waiting in here if predicate(waiting)]
                for waiting in here:
                    if not predicate(waiting):
                        self.add(waiting)
        return taken

    def next_deadline(self, otherwise: float) -> float:
        """Return the earliest deadline of what waits, or `otherwise` if that is earlier."""
        return min(otherwise, *(waiting.deadline for here in self._by_host.values() for waiting in here), otherwise)

    def _count(self, requests: int, size: int) -> None:
        self.requests += requests
        self._bytes += size
        self.is_half_empty = self.requests < MAX_WAITING // 2 and self._bytes < MAX_BYTES // 2

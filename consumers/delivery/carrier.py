"""What carries requests whose addresses are known: libcurl (libcurl.py) or sockets of our own (direct/)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from consumers.delivery.answer import Answer, Request
from consumers.delivery.readiness import Events
from consumers.delivery.resolver import Addresses

# Called with a request, its answer, when it was started, and now.
Finish: TypeAlias = Callable[[Request, Answer, float, float], None]


class Carrier(Protocol):
    """Sends requests and tells how they ended, by what it was given as `Finish`. Times are monotonic, in seconds."""

    @property
    def requests(self) -> int:
        """How many are on their way."""
        ...

    def begin(self, request: Request, to: Addresses, started: float, deadline: float) -> None:
        """Send a request to these addresses."""
        ...

    def wait(self, timeout_s: float) -> Events:
        """Return what has happened, or nothing after the timeout."""
        ...

    def work(self, events: Events, now: float) -> None:
        """Move what can be moved."""
        ...

    def look_over(self, now: float) -> float:
        """End what is past its deadline; return the next deadline."""
        ...

    def cancel(self, predicate: Callable[[Request], bool]) -> list[Request]:
        """Close the requests of which `predicate` is true and return them; they get no answer."""
        ...

    def wake(self) -> None:
        """End the wait, or the next one; may be called from another thread."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...

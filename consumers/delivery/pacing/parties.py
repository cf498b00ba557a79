"""Who is paced, and what is: what pacing has to know of subscriptions and jobs."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar


class Subscriber(Protocol):
    """Whose requests are paced."""

    @property
    def subscription_id(self) -> str:
        """Its id."""
        ...

    @property
    def host(self) -> str:
        """Where its requests go."""
        ...

    @property
    def max_in_flight(self) -> int | None:
        """Requests at a time; None: the setting's."""
        ...

    @property
    def rate_limit(self) -> float | None:
        """Requests a second; None: no limit."""
        ...


class Paced(Protocol):
    """A job: while it runs it carries its endpoint's pace and the ticket of its place (None: it has none)."""

    pace: Any
    ticket: int | None


T = TypeVar("T", bound=Paced)

"""What the transport needs of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from consumers.delivery.resolver import Resolution


class SocketPolicy(Protocol):
    """Which addresses may be connected to (schemas.egress.EgressPolicy)."""

    def refusal(self, address: str) -> str | None:
        """Say why an address may not be connected to; None if it may."""
        ...


class Names(Protocol):
    """Where hosts are (consumers.delivery.resolver.Resolver)."""

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Take what to call when `ended` has something."""
        ...

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return what is known of a host; None: nothing yet, and if `waits`, `ended` will name it."""
        ...

    def ended(self) -> list[str]:
        """Return the hosts of which more is known since this was last asked."""
        ...

    def has_hung(self, host: str) -> bool:
        """Tell whether the last query for a host got no answer."""
        ...

    def close(self) -> None:
        """Ask nothing more."""
        ...

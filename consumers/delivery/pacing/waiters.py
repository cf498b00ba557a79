"""Endpoints with something waiting, and the few of them that are looked at in a sweep. Pure."""

from __future__ import annotations

from itertools import islice
from typing import Final

from consumers.delivery.pacing.pace import Pace
from consumers.delivery.pacing.parties import T

# So many endpoints are looked at in one sweep, which takes a millisecond or two.
_LOOK_AT: Final = 1_000


class Waiters(dict[str, Pace[T]]):
    """By the ids of their subscriptions."""

    def next(self) -> list[Pace[T]]:
        """Return those that are to be looked at now: of very many, the ones that were longest ago."""
        found = list(islice(self.values(), _LOOK_AT))
        if len(self) > _LOOK_AT:
            for pace in found:
                self[pace.id] = self.pop(pace.id)
        return found

"""When a change of a subscription is acknowledged: when every process that hears from its broker knows it. Pure."""

from __future__ import annotations

from typing import Final

# Delivery acts on what was readable 200 ms ago (consumers/subscriptions/staleness.py); 50 ms are for clocks and a turn
# of its loop.
ACKNOWLEDGE_AFTER_S: Final = 0.25
_SLOW_S: Final = 0.2


def acknowledge_after_s(read_back_s: float) -> float:
    """Return how long to wait once a record has been read back, which took `read_back_s`.

    A broker that is slow for this process is slow for delivery as well, which then acts on an older end offset
    (consumers/subscriptions/staleness.py). It knows a record after two responses at most: one under way, and its own.
    """
    return ACKNOWLEDGE_AFTER_S + (2 * read_back_s if read_back_s > _SLOW_S else 0.0)

"""Time of the acknowledgement of a change: when every process that is connected to its brokers knows it. Pure."""

from __future__ import annotations

from typing import Final

# Delivery's table is at most 200 ms stale (consumers/subscriptions/staleness.py). 50 ms are for clocks and one turn of
# its loop.
ACKNOWLEDGE_AFTER_S: Final = 0.25
_SLOW_S: Final = 0.2


def acknowledge_after_s(read_back_s: float) -> float:
    """Return the wait after a record has been read back; reading it back took `read_back_s`.

    A broker that is slow for this process is also slow for delivery, whose end offset is then older
    (consumers/subscriptions/staleness.py). Delivery knows a record after at most two responses: one in flight when the
    record was written, and the next one.
    """
    return ACKNOWLEDGE_AFTER_S + (2 * read_back_s if read_back_s > _SLOW_S else 0.0)

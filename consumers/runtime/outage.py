"""Whether a process that cannot go on is better begun anew: after an outage, not when another one has its instance id.

When brokers were away for longer than the session timeout, librdkafka may come back to its group without its static
member id, which the brokers answer as if another process had fenced this one, or never be assigned anything again
(librdkafka issue 3437). All state is in Kafka: a fresh start of the process mends both. A process that was fenced by
another one was at work until that moment, or stood still; it has to end. Pure.
"""

from __future__ import annotations

from math import inf
from typing import Final

# Nothing could be done for so long: that was no fencing out of the blue.
_OUT_OF_WORK_S: Final = 2.0
# Partitions that were lost are given back, or to another process, well within this.
_STRANDED_S: Final = 60.0


class Outage:
    """Keeps when the process was at work last; times are monotonic seconds."""

    def __init__(self) -> None:
        self._worked_s: float | None = None

    def works(self, now_s: float) -> None:
        """Note that the process could do its work just now."""
        self._worked_s = now_s

    def lasts_s(self, now_s: float) -> float:
        """Return for how long nothing could be done; without end where there never was anything."""
        return inf if self._worked_s is None else now_s - self._worked_s

    def stood_still(self, for_s: float) -> None:
        """Note that the process itself did not run: no outage, and another process may have its instance id since."""
        if self._worked_s is not None:
            self._worked_s += for_s

    def explains(self, now_s: float) -> bool:
        """Tell whether a failure now is likely due to an outage: it was at work once, and has not been for a while."""
        return self._worked_s is not None and now_s - self._worked_s > _OUT_OF_WORK_S

    def is_stranded(self, now_s: float) -> bool:
        """Tell whether partitions that were lost have been awaited for too long."""
        return self._worked_s is not None and now_s - self._worked_s > _STRANDED_S

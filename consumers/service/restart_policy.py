"""Restart policy after a fatal Kafka error: re-exec if the brokers were unreachable, exit if another process took over.

After brokers were unreachable for longer than the session timeout, librdkafka may return to its group without its
static member id, and brokers respond as if another process had fenced this one. Or it never gets an assignment again
(librdkafka issue 3437). All state is in Kafka, so a restart of the process repairs both. A process that was fenced by
another one was working until that moment, or stalled; it has to exit. Pure.
"""

from __future__ import annotations

from math import inf
from typing import Final

# After this long without progress, unreachable brokers explain a fatal error, not another process.
_IDLE_S: Final = 2.0
# Lost partitions are assigned again, or to another process, well within this.
_STRANDED_S: Final = 60.0


class RestartPolicy:
    """Tracks when the process last made progress; times are monotonic seconds."""

    def __init__(self) -> None:
        self._progress_s: float | None = None

    def record_progress(self, now_s: float) -> None:
        """Record that the process has just made progress."""
        self._progress_s = now_s

    def idle_s(self, now_s: float) -> float:
        """Return the time since the last progress; infinite if there was none."""
        return inf if self._progress_s is None else now_s - self._progress_s

    def record_stall(self, for_s: float) -> None:
        """Record a stall of this process: the brokers may be fine, and another process may have its instance id."""
        if self._progress_s is not None:
            self._progress_s += for_s

    def should_restart(self, now_s: float) -> bool:
        """Return whether unreachable brokers explain a failure now: the process made progress once, and not lately."""
        return self._progress_s is not None and now_s - self._progress_s > _IDLE_S

    def is_stranded(self, now_s: float) -> bool:
        """Return whether the process has waited too long for an assignment after it lost its partitions."""
        return self._progress_s is not None and now_s - self._progress_s > _STRANDED_S

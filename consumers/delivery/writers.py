"""Which subscription alone has written to a partition of a tier lately: all behind its head is of it. Pure."""

from __future__ import annotations

from typing import Final

# A transaction ends within ten seconds (or is aborted), and clocks agree within 100 ms: what was appended later than
# that after a batch was sealed is of a later batch, and so behind all of that batch.
_SURELY_LATER_MS: Final = 10_200


class Writers:
    """Who was the last to write to each partition of a tier, and since when nobody else has."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], bytes] = {}
        self._since_ms: dict[tuple[str, int], int] = {}
        self._changed: set[tuple[str, int]] = set()

    def wrote(self, topic: str, partition: int, key: bytes) -> None:
        """Note a job that will be written in the next transaction."""
        place = (topic, partition)
        if self._last.get(place) != key:
            self._last[place] = key
            self._changed.add(place)

    def sealed(self, now_ms: int) -> None:
        """Note that a transaction is begun with what was noted."""
        if self._changed:
            for place in self._changed:
                self._since_ms[place] = now_ms
            self._changed.clear()

    def aborted(self) -> None:
        """Note that what was written will be written again, later than it seemed."""
        self._changed.update(self._last)

    def forget(self) -> None:
        """Others may have written: partitions were taken over."""
        self._last.clear()
        self._since_ms.clear()
        self._changed.clear()

    def only(self, topic: str, partition: int, key: bytes | None, appended_at_ms: int) -> bool:
        """Tell whether a record, and all that was appended behind it, is of this key."""
        place = (topic, partition)
        if key is None or self._last.get(place) != key or place in self._changed:
            return False
        return appended_at_ms > self._since_ms[place] + _SURELY_LATER_MS

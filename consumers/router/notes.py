"""What the router notes of its sources, without waiting: each by the process that has the source's partition 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

import structlog

from consumers.runtime.admin import CLIENT_ERRORS, reason_of
from consumers.runtime.background import in_thread
from consumers.runtime.positions import CommittedPositions, Found, PartitionKey
from consumers.runtime.source_notes import Notes, SourceNotes
from schemas.source import SourceNote

EVERY_S: Final = 3_600.0
# A process that is restarted more often than hourly notes the last positions all the same.
FIRST_AFTER_S: Final = 60.0
_AGAIN_AFTER_S: Final = 60.0
_log = structlog.get_logger("router")


class Noting:
    """Reads and writes the notes in helper threads; `unix_ms` is a clock."""

    def __init__(self, notes: SourceNotes, positions: CommittedPositions, unix_ms: Callable[[], int]) -> None:
        self._notes = notes
        self._positions = positions
        self._unix_ms = unix_ms
        self._due_s: float | None = None
        self._hourly: Future[int] | None = None

    def read(self) -> Future[Notes]:
        """Read all notes."""
        return in_thread("sources", self._notes.read)

    def begin(self, started: Mapping[str, str | None], found: Mapping[PartitionKey, Found]) -> Future[None]:
        """Note where sources have started: topic to `start_at`, None where they had positions before."""
        now_ms = self._unix_ms()
        notes = [SourceNote(topic, now_ms, start_at, _committed(topic, found)) for topic, start_at in started.items()]
        return in_thread("sources", self._notes.write, notes)

    def poll(self, now_s: float, owned: Sequence[PartitionKey]) -> None:
        """Note the last positions when it is time (`now_s`: a monotonic clock, in seconds)."""
        if self._due_s is None:
            self._due_s = now_s + FIRST_AFTER_S
        if now_s < self._due_s:
            return
        if self._hourly is None:
            topics = [topic for topic, partition in owned if partition == 0]
            self._hourly = in_thread("sources", self.note_last, topics) if topics else None
            self._due_s = now_s if topics else now_s + EVERY_S
        elif self._hourly.done():
            self._due_s += EVERY_S if self._is_noted(self._hourly) else _AGAIN_AFTER_S
            self._hourly = None

    def note_last(self, topics: Iterable[str]) -> int:
        """Note the committed positions of these sources; returns how many notes were written. Blocks."""
        found = self._positions.fetch_topics(topics)
        now_ms = self._unix_ms()
        last = {topic: _committed(topic, found) for topic, _ in found}
        # A source without a note is noted when it is taken over.
        notes = [
            replace(note, last={**note.last, **last[topic]}, last_at_ms=now_ms)
            for topic, note in self._notes.read().items()
            if note is not None and last.get(topic)
        ]
        self._notes.write(notes)
        return len(notes)

    def _is_noted(self, hourly: Future[int]) -> bool:
        try:
            hourly.result()
        except CLIENT_ERRORS as error:
            _log.warning("router.not_noted", error=str(reason_of(error)))
            return False
        return True


def _committed(topic: str, found: Mapping[PartitionKey, Found]) -> dict[int, int]:
    return {
        partition: position.offset
        for (name, partition), position in found.items()
        if name == topic and position.offset is not None
    }

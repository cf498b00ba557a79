"""Search for dead letters, their attempts, and whether they were retried since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from consumers.inspect.scan import Scanner, newest, time_of
from consumers.kafka.topic_reader import Range, place_of
from schemas.avro.codec import DecodedRecord
from schemas.catalog.errors import InvalidInput, UnreadableRecord
from schemas.records.delivery import DeadLetter, DeadLetterCodec, JobCodec, OutcomeCodec
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST, TopicNames

# The tolerance for timestamps set by producers: larger errors hide records.
MARGIN_MS: Final = 3_600_000
# Brokers set append times; the tolerance for differences between their clocks.
_CLOCKS_MS: Final = 60_000
# The number of records that takes a second or two to read.
_QUICK: Final = 500_000
_CODEC: Final = DeadLetterCodec()


@dataclass(frozen=True, slots=True)
class FoundDeadLetter:
    """A record of the topic of dead letters; `letter` is a sentence if it is unreadable."""

    partition: int
    offset: int
    at_ms: int
    letter: DeadLetter | str

    @property
    def id(self) -> str:
        """Partition and offset on the topic, in the form that `show` and `retry` accept."""
        return f"{self.partition}:{self.offset}"

    def retried(self, runs: Mapping[str, int]) -> int | None:
        """Return the run of a later retry, given the last runs by job id; None if it was not retried."""
        if not isinstance(self.letter, DeadLetter) or self.letter.job_id is None:
            return None
        last = runs.get(self.letter.job_id, 0)
        return last if last > _run_of(self.letter) else None


def id_of(text: str, topic: str) -> tuple[int, int]:
    """Parse `partition:offset`, with or without the topic before it; InvalidInput shows the form."""
    partition, _, offset = text.removeprefix(f"{topic}:").partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (partition, offset)):
        raise InvalidInput(f"{text!r} is not the id of a dead letter: use partition:offset, as shown by `list`")
    return int(partition), int(offset)


class DeadLetters:
    """Reads the topic `dead`."""

    def __init__(self, scanner: Scanner, names: TopicNames) -> None:
        self._scanner = scanner
        self._names = names

    @property
    def is_there(self) -> bool:
        """Whether the topic exists."""
        return bool(self._scanner.partitions([self._names.dead]))

    def newest(
        self, limit: int | None, *, reason: str | None, subscription: str | None, since_ms: int | None
    ) -> list[FoundDeadLetter]:
        """Return the newest dead letters that match, newest first."""
        accepts = _filter(reason, subscription)
        messages = newest(self._scanner, self._scanner.ranges_of([self._names.dead], since_ms), limit, accepts)
        return [_found(message) for message in reversed(messages)]

    def get(self, ids: Iterable[str]) -> list[FoundDeadLetter]:
        """Return the dead letters with these ids; InvalidInput if one does not exist."""
        places = {id_of(text, self._names.dead): text for text in ids}
        ranges = {r.partition: r for r in self._scanner.ranges_of([self._names.dead])}
        wanted = []
        for (partition, offset), text in places.items():
            log_range = ranges.get(partition)
            if log_range is None or not log_range.begin <= offset < log_range.end:
                raise _unknown(text)
            wanted.append(Range(log_range.topic, partition, offset, offset + 1))
        # One read has at most one range per partition, so each id is read separately.
        found = [_found(m) for one in wanted for batch in self._scanner.read([one]) for m in batch]
        missing = places.keys() - {(one.partition, one.offset) for one in found}
        if missing:
            raise _unknown(places[min(missing)])
        return found

    def attempts(self, letter: DeadLetter) -> list[DecodedRecord]:
        """Return the outcomes of the job of a dead letter, ordered by time."""
        if letter.job_id is None:
            return []
        needle = letter.job_id.encode()
        codec = OutcomeCodec()
        found = []
        for batch in self._scanner.read(self._scanner.ranges_of([self._names.outcomes], _begin_of(letter))):
            for message in batch:
                value = message.value()
                if value is not None and needle in value:
                    found.append(codec.decode(value))
        return sorted((o for o in found if o["job_id"] == letter.job_id), key=lambda o: (o["run"], o["at_ms"]))

    def runs(self, found: Iterable[FoundDeadLetter]) -> dict[str, int]:
        """Return the highest run of each job on `jobs.0s`, by job id, without those of run 0.

        It reads only records that are younger than the letters, in the partitions of their subscriptions.
        """
        return self._runs(found, None) or {}

    def quick_runs(self, found: Iterable[FoundDeadLetter]) -> dict[str, int] | None:
        """Return the same as `runs`, or None if reading would take more than a second or two."""
        return self._runs(found, _QUICK)

    def _runs(self, found: Iterable[FoundDeadLetter], max_records: int | None) -> dict[str, int] | None:
        jobs = {one.letter.job_id: one for one in found if isinstance(one.letter, DeadLetter) and one.letter.job_id}
        if not jobs:
            return {}
        ids = {one.letter.subscription_id or "" for one in jobs.values() if isinstance(one.letter, DeadLetter)}
        subscriptions = {id_.encode() for id_ in ids}
        since_ms = max(0, min(one.at_ms for one in jobs.values()) - _CLOCKS_MS)
        ranges = self._scanner.ranges_of([self._names.jobs(FIRST)], since_ms)
        places = {partition_of(id_, len(ranges)) for id_ in ids}
        ranges = [one for one in ranges if one.partition in places]
        if max_records is not None and sum(one.end - one.begin for one in ranges) > max_records:
            return None
        codec = JobCodec()
        runs: dict[str, int] = {}
        for batch in self._scanner.read(ranges):
            for message in batch:
                if message.key() not in subscriptions:
                    continue
                try:
                    job = codec.decode(message.value())
                except UnreadableRecord:
                    continue
                if job.run and job.job_id in jobs:
                    runs[job.job_id] = max(job.run, runs.get(job.job_id, 0))
        return runs


def _unknown(id_: str) -> InvalidInput:
    return InvalidInput(f"there is no dead letter {id_}; `signpost dead-letters list` shows all")


def _found(message: Message) -> FoundDeadLetter:
    _, partition, offset = place_of(message)
    try:
        letter: DeadLetter | str = _CODEC.decode(message.value())
    except UnreadableRecord as error:
        letter = str(error)
    return FoundDeadLetter(partition, offset, time_of(message), letter)


def _filter(reason: str | None, subscription: str | None) -> Callable[[Message], bool]:
    """Return a filter that compares bytes first, so that only records that may match are decoded."""
    needles = [text.encode() for text in (reason, subscription) if text is not None]

    def accepts(message: Message) -> bool:
        value = message.value() or b""
        if not all(needle in value for needle in needles):
            return False
        letter = _found(message).letter if needles else ""
        if isinstance(letter, str):
            return not needles
        return reason in (None, letter.reason) and subscription in (None, letter.subscription_id)

    return accepts


def _run_of(letter: DeadLetter) -> int:
    try:
        return JobCodec().decode(letter.value).run
    except UnreadableRecord:
        return 0


def _begin_of(letter: DeadLetter) -> int | None:
    """Return the time of the first possible attempt of a job in Unix ms, None if it is unknown."""
    try:
        appended_at_ms = JobCodec().decode(letter.value).appended_at_ms
    except UnreadableRecord:
        return None
    return max(0, min(appended_at_ms, letter.at_ms) - MARGIN_MS) if appended_at_ms > 0 else None

"""Dead letters found, what was tried before them, and whether they had another chance already."""

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

# Times that clients set may be off by this much before something is missed.
MARGIN_MS: Final = 3_600_000
# Append times are the brokers' own, whose clocks may differ by this much.
_CLOCKS_MS: Final = 60_000
# Records that are read in a second or two.
_QUICK: Final = 500_000
_CODEC: Final = DeadLetterCodec()


@dataclass(frozen=True, slots=True)
class FoundDeadLetter:
    """A record of the topic of dead letters; `letter` is a sentence where it is none."""

    partition: int
    offset: int
    at_ms: int
    letter: DeadLetter | str

    @property
    def id(self) -> str:
        """Its place on the topic, as `show` and `retry` take it."""
        return f"{self.partition}:{self.offset}"

    def retried(self, runs: Mapping[str, int]) -> int | None:
        """Return the run that a retry of it has made since, of these by job id; None where there is none."""
        if not isinstance(self.letter, DeadLetter) or self.letter.job_id is None:
            return None
        last = runs.get(self.letter.job_id, 0)
        return last if last > _run_of(self.letter) else None


def id_of(text: str, topic: str) -> tuple[int, int]:
    """Read `partition:offset`, with or without the topic before it; InvalidInput says how it is written."""
    partition, _, offset = text.removeprefix(f"{topic}:").partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (partition, offset)):
        raise InvalidInput(f"{text!r} is not the id of a dead letter: write partition:offset, as `list` shows it")
    return int(partition), int(offset)


class DeadLetters:
    """Reads the topic `dead`."""

    def __init__(self, scanner: Scanner, names: TopicNames) -> None:
        self._scanner = scanner
        self._names = names

    @property
    def is_there(self) -> bool:
        """Whether there is such a topic."""
        return bool(self._scanner.partitions([self._names.dead]))

    def newest(
        self, limit: int | None, *, reason: str | None, subscription: str | None, since_ms: int | None
    ) -> list[FoundDeadLetter]:
        """Return the newest that fit, newest first."""
        accepts = _filter(reason, subscription)
        messages = newest(self._scanner, self._scanner.ranges_of([self._names.dead], since_ms), limit, accepts)
        return [_found(message) for message in reversed(messages)]

    def get(self, ids: Iterable[str]) -> list[FoundDeadLetter]:
        """Return these; InvalidInput if one is not there."""
        places = {id_of(text, self._names.dead): text for text in ids}
        ranges = {r.partition: r for r in self._scanner.ranges_of([self._names.dead])}
        wanted = []
        for (partition, offset), text in places.items():
            whole = ranges.get(partition)
            if whole is None or not whole.begin <= offset < whole.end:
                raise _unknown(text)
            wanted.append(Range(whole.topic, partition, offset, offset + 1))
        # A partition is read once, so neighbours and those far apart are asked for one after the other.
        found = [_found(m) for one in wanted for batch in self._scanner.read([one]) for m in batch]
        missing = places.keys() - {(one.partition, one.offset) for one in found}
        if missing:
            raise InvalidInput(
                f"there is no dead letter {places[min(missing)]}; `signpost dead-letters list` shows them"
            )
        return found

    def attempts(self, letter: DeadLetter) -> list[DecodedRecord]:
        """Return the outcomes of the job of a dead letter, in the order of time."""
        if letter.job_id is None:
            return []
        needle, codec = letter.job_id.encode(), OutcomeCodec()
        found = []
        for batch in self._scanner.read(self._scanner.ranges_of([self._names.outcomes], _begin_of(letter))):
            for message in batch:
                value = message.value()
                if value is not None and needle in value:
                    found.append(codec.decode(value))
        return sorted((o for o in found if o["job_id"] == letter.job_id), key=lambda o: (o["run"], o["at_ms"]))

    def runs(self, found: Iterable[FoundDeadLetter]) -> dict[str, int]:
        """Return the highest run of each of these jobs that is in `jobs.0s`, by job id, where there is one above 0.

        Only what is younger than the letters is read, and only where the records of their subscriptions are.
        """
        return self._runs(found, None) or {}

    def quick_runs(self, found: Iterable[FoundDeadLetter]) -> dict[str, int] | None:
        """Return the same, None where so much would have to be read for it that somebody had to wait."""
        return self._runs(found, _QUICK)

    def _runs(self, found: Iterable[FoundDeadLetter], most: int | None) -> dict[str, int] | None:
        jobs = {one.letter.job_id: one for one in found if isinstance(one.letter, DeadLetter) and one.letter.job_id}
        if not jobs:
            return {}
        ids = {one.letter.subscription_id or "" for one in jobs.values() if isinstance(one.letter, DeadLetter)}
        subscriptions = {id_.encode() for id_ in ids}
        since_ms = max(0, min(one.at_ms for one in jobs.values()) - _CLOCKS_MS)
        ranges = self._scanner.ranges_of([self._names.jobs(FIRST)], since_ms)
        places = {partition_of(id_, len(ranges)) for id_ in ids}
        ranges = [one for one in ranges if one.partition in places]
        if most is not None and sum(one.end - one.begin for one in ranges) > most:
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
    return InvalidInput(f"there is no dead letter {id_}; `signpost dead-letters list` shows those that there are")


def _found(message: Message) -> FoundDeadLetter:
    _, partition, offset = place_of(message)
    try:
        letter: DeadLetter | str = _CODEC.decode(message.value())
    except UnreadableRecord as error:
        letter = str(error)
    return FoundDeadLetter(partition, offset, time_of(message), letter)


def _filter(reason: str | None, subscription: str | None) -> Callable[[Message], bool]:
    """Compare bytes first: of a million records only those that may fit are decoded."""
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
    """Return the Unix ms from which attempts of a job may be found, None where that is not known."""
    try:
        appended_at_ms = JobCodec().decode(letter.value).appended_at_ms
    except UnreadableRecord:
        return None
    return max(0, min(appended_at_ms, letter.at_ms) - MARGIN_MS) if appended_at_ms > 0 else None

"""Records of one event on all topics: its record, its jobs, their outcomes, and dead letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message

from consumers.inspect.dead_letters import MARGIN_MS
from consumers.inspect.scan import Scanner, time_of
from consumers.kafka.topic_reader import Range, place_of
from schemas.avro.codec import DecodedRecord
from schemas.catalog.errors import SignpostError, UnreadableRecord
from schemas.events.event import Event
from schemas.records.delivery import DeadLetter, DeadLetterCodec, Job, JobCodec, OutcomeCodec, event_id
from schemas.records.topics import TopicNames
from schemas.senders.event_codec import EventDecoder

Place = tuple[str, int, int]
# Topic, partition, offset; and the derived id of an event without an id, which is not in its bytes.
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]+):(\d{1,9}):(\d{1,18})")
_DERIVED_ID: Final = re.compile(r"evt_[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event at its source; `event` is a sentence if it is unreadable."""

    place: Place
    at_ms: int
    sender: str
    event: Event | str


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A record of a job in a delay topic."""

    place: Place
    at_ms: int
    job: Job


@dataclass(frozen=True, slots=True)
class LetterSeen:
    """A dead letter."""

    place: Place
    at_ms: int
    letter: DeadLetter


@dataclass(slots=True)
class Traces:
    """All records found; `missing` are topics that do not exist."""

    events: list[EventSeen] = field(default_factory=list)
    jobs: list[JobSeen] = field(default_factory=list)
    outcomes: list[DecodedRecord] = field(default_factory=list)
    letters: list[LetterSeen] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def places(self) -> list[Place]:
        """Return the places of the event by all records found, in order."""
        found = {seen.place for seen in self.events}
        found |= {(j.job.source_topic, j.job.source_partition, j.job.source_offset) for j in self.jobs}
        found |= {(o["source_topic"], o["source_partition"], o["source_offset"]) for o in self.outcomes}
        return sorted(found)


class Tracer:
    """Finds the records of an event. `decoders`: source topic to the name and decoder of its sender."""

    def __init__(
        self,
        scanner: Scanner,
        names: TopicNames,
        delay_topics: Iterable[str],
        decoders: Mapping[str, tuple[str, EventDecoder]],
    ) -> None:
        self._scanner = scanner
        self._names = names
        self._delay_topics = tuple(delay_topics)
        self._decoders = decoders
        self._jobs = JobCodec()
        self._outcomes = OutcomeCodec()
        self._letters = DeadLetterCodec()

    def trace(self, wanted: str, sources: Iterable[str]) -> Traces:
        """Find an event by its id, or by `topic:partition:offset`, in these source topics, with its jobs and outcomes.

        Jobs and outcomes are younger than the event, so older records are not read.
        """
        sources = tuple(sources)
        own = (*self._delay_topics, self._names.outcomes, self._names.dead)
        there = {topic for topic, _ in self._scanner.partitions([*sources, *own])}
        traces = Traces(missing=[topic for topic in (*sources, *own) if topic not in there])
        match = _PLACE.fullmatch(wanted)
        if match and match[1] in sources:
            self._at((match[1], int(match[2]), int(match[3])), traces)
            wanted = self._id_of(traces, wanted)
        else:
            self._search(wanted, sources, traces)
        times = [seen.at_ms for seen in traces.events if seen.at_ms > 0]
        since_ms = max(0, min(times) - MARGIN_MS) if times else None
        self._follow(wanted, own, since_ms, traces)
        if since_ms is not None and not (traces.jobs or traces.outcomes or traces.letters):
            self._follow(wanted, own, None, traces)  # the producer may have set a wrong time
        return traces

    def _id_of(self, traces: Traces, wanted: str) -> str:
        for seen in traces.events:
            return event_id(*seen.place) if isinstance(seen.event, str) else seen.event.event_id
        return wanted

    def _at(self, place: Place, traces: Traces) -> None:
        topic, partition, offset = place
        ranges = [
            Range(topic, partition, offset, offset + 1)
            for r in self._scanner.ranges_of([topic])
            if r.partition == partition and r.begin <= offset < r.end
        ]
        for batch in self._scanner.read(ranges):
            traces.events += [self._event(message) for message in batch]

    def _search(self, wanted: str, sources: Iterable[str], traces: Traces) -> None:
        holds = _holds(wanted)
        for batch in self._scanner.read(self._scanner.ranges_of(sources)):
            for message in batch:
                if not holds(message):
                    continue
                seen = self._event(message)
                if isinstance(seen.event, str) or seen.event.event_id == wanted:
                    traces.events.append(seen)

    def _event(self, message: Message) -> EventSeen:
        place = place_of(message)
        sender, decoder = self._decoders[place[0]]
        try:
            event: Event | str = decoder.decode(message.value(), lambda: event_id(*place))
        except SignpostError as error:  # unreadable, or the registry does not respond
            event = str(error)
        return EventSeen(place, time_of(message), sender, event)

    def _follow(self, wanted: str, topics: Iterable[str], since_ms: int | None, traces: Traces) -> None:
        needle = wanted.encode()
        places = {seen.place for seen in traces.events}
        for batch in self._scanner.read(self._scanner.ranges_of(topics, since_ms)):
            for message in batch:
                value = message.value()
                if value is not None and (needle in value or message.topic() == self._names.dead):
                    try:
                        self._take(message, value, wanted, places, traces)
                    except UnreadableRecord:
                        continue  # delivery makes a dead letter of an unreadable record

    def _take(self, message: Message, value: bytes, wanted: str, places: set[Place], traces: Traces) -> None:
        place = place_of(message)
        if place[0] == self._names.outcomes:
            outcome = self._outcomes.decode(value)
            if outcome["event_id"] == wanted:
                traces.outcomes.append(outcome)
        elif place[0] == self._names.dead:
            letter = self._letters.decode(value)
            if letter.event_id == wanted or (letter.topic, letter.partition, letter.offset) in places:
                traces.letters.append(LetterSeen(place, time_of(message), letter))
        else:
            job = self._jobs.decode(value)
            if job.event_id == wanted:
                traces.jobs.append(JobSeen(place, time_of(message), job))


def _holds(wanted: str) -> Callable[[Message], bool]:
    """Return a filter that compares bytes, so that only records that may match are decoded."""
    needle = wanted.encode()
    if not _DERIVED_ID.fullmatch(wanted):
        return lambda message: needle in (message.value() or b"")
    return lambda message: needle in (message.value() or b"") or event_id(*place_of(message)) == wanted

"""Records of one event on all topics: its record, its jobs, their outcomes, and dead letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from confluent_kafka import Message

from consumers.inspect.dead_letters import MARGIN_MS
from consumers.inspect.scan import Scanner, time_of
from consumers.kafka.record_headers import headers_of
from consumers.kafka.topic_reader import Range, place_of
from schemas.avro.codec import DecodedRecord
from schemas.catalog.errors import SignpostError, Unavailable, UnreadableRecord
from schemas.events.event import Event
from schemas.records.delivery import DeadLetter, DeadLetterCodec, Job, JobCodec, OutcomeCodec, event_id
from schemas.records.topics import TopicNames
from schemas.records.trace_context import context_of
from schemas.senders.event_codec import EventDecoder
from schemas.senders.header_values import header_id
from schemas.senders.sender import Sender
from schemas.senders.traits import ids_in

Place: TypeAlias = tuple[str, int, int]
# Topic, partition, offset; and ids that Signpost derives: those of events without an id and of jobs, and the form of an
# event id in headers. They are not in the bytes of the event.
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]+):(\d{1,9}):(\d{1,18})")
_DERIVED_ID: Final = re.compile(r"(?:evt_)?[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event at its source; `event` is a sentence if it is unreadable. `event_id` may be derived from the place."""

    place: Place
    at_ms: int
    sender: str
    event: Event | str
    event_id: str


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A record of a job in a delay topic."""

    place: Place
    at_ms: int
    job: Job


@dataclass(frozen=True, slots=True)
class LetterSeen:
    """A dead letter; `event_id` and `source` are those of its event, empty and None if they are unknown."""

    place: Place
    at_ms: int
    letter: DeadLetter
    event_id: str
    source: Place | None


class _Named(NamedTuple):
    """The ids in a record of Signpost's own, and the place of its event."""

    event_id: str
    job_id: str | None
    subscription_id: str | None
    source: Place | None


@dataclass(slots=True)
class Traces:
    """All records found; `missing` are topics that do not exist.

    `only` is the place of the event if the wanted id names only that one. `found_by` says which kind of id was given,
    unless it was that of the event.
    """

    events: list[EventSeen] = field(default_factory=list)
    jobs: list[JobSeen] = field(default_factory=list)
    outcomes: list[DecodedRecord] = field(default_factory=list)
    letters: list[LetterSeen] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    # The ids of OpenTelemetry traces, by the place of the event: from the headers of its jobs, or else of the event.
    trace_ids: dict[Place, str] = field(default_factory=dict)
    only: Place | None = None
    found_by: str = ""

    def places(self) -> list[Place]:
        """Return the places of the event by all records found, in order."""
        if self.only is not None:
            return [self.only]
        found = {seen.place for seen in self.events}
        found |= {(j.job.source_topic, j.job.source_partition, j.job.source_offset) for j in self.jobs}
        found |= {(o["source_topic"], o["source_partition"], o["source_offset"]) for o in self.outcomes}
        found |= {seen.source for seen in self.letters if seen.source is not None}
        return sorted(found)


_Record: TypeAlias = JobSeen | DecodedRecord | LetterSeen


class _Found(NamedTuple):
    """A record of Signpost's own, its ids, and the id of the trace in its headers."""

    record: _Record
    named: _Named
    trace_id: str


def is_derived_id(text: str) -> bool:
    """Return whether a text, as people copy it, is an id that Signpost derives."""
    return _DERIVED_ID.fullmatch(text.strip().lower()) is not None


class Tracer:
    """Finds the records of an event.

    `sources`: source topic to its sender and decoder. `senders` are all whose headers may have been copied.
    """

    def __init__(
        self,
        scanner: Scanner,
        names: TopicNames,
        delay_topics: Iterable[str],
        sources: Mapping[str, tuple[Sender, EventDecoder]],
        senders: Mapping[str, Sender],
    ) -> None:
        self._scanner = scanner
        self._names = names
        self._own = (*delay_topics, names.outcomes, names.dead)
        self._sources = sources
        self._senders = senders
        self._jobs = JobCodec()
        self._outcomes = OutcomeCodec()
        self._letters = DeadLetterCodec()

    def trace(self, wanted: str, sources: Iterable[str]) -> Traces:
        """Find an event in these source topics, with its jobs, outcomes and dead letters.

        `wanted` is the id of the event, as it was published or as headers have it, the id of a job, or
        `topic:partition:offset`.
        """
        sources = tuple(sources)
        traces = self._find(wanted, sources)
        there = {topic for topic, _ in self._scanner.partitions([*sources, *self._own])}
        traces.missing = [topic for topic in (*sources, *self._own) if topic not in there]
        return traces

    def _find(self, wanted: str, sources: Collection[str]) -> Traces:
        place = self._place_in(wanted, sources)
        if place is not None:
            return self._at(place)
        ids = frozenset(ids_in(wanted, self._senders))
        traces = self._of_events(ids, sources)
        if traces.places():
            return traces
        of_job = (named for _, named, _ in self._records(ids) if named.job_id in ids and named.source is not None)
        if (job := next(of_job, None)) is not None and job.source is not None:
            traces = self._at(job.source, job.event_id)
            traces.only = job.source
            traces.found_by = f"the id of its job for subscription {job.subscription_id}"
        elif sent := self._sent_as(ids, sources):
            traces = self._of_events(sent, sources)
            traces.found_by = "its id in headers"
        return traces

    def _place_in(self, wanted: str, sources: Collection[str]) -> Place | None:
        match = _PLACE.fullmatch(wanted)
        for topic in (match[1], self._names.prefix + match[1]) if match else ():
            if match and topic in sources:
                return topic, int(match[2]), int(match[3])
        return None

    def _at(self, place: Place, id_: str = "") -> Traces:
        """Find the event at a place, which has this id if its record is gone."""
        traces = Traces()
        topic, partition, offset = place
        ranges = [
            Range(topic, partition, offset, offset + 1)
            for r in self._scanner.ranges_of([topic])
            if r.partition == partition and r.begin <= offset < r.end
        ]
        for batch in self._scanner.read(ranges):
            for message in batch:
                self._add_event(message, self._event(message), traces)
        ids = [seen.event_id or event_id(*place) for seen in traces.events] or [id_]
        if ids != [""]:
            self._follow(frozenset(ids), traces)
        return traces

    def _of_events(self, ids: Collection[str], sources: Collection[str]) -> Traces:
        """Find all events with one of these ids."""
        traces = Traces()
        holds = _holds(ids)
        for batch in self._scanner.read(self._scanner.ranges_of(sources)):
            for message in batch:
                if not holds(message):
                    continue
                seen = self._event(message)
                if not seen.event_id or seen.event_id in ids:
                    self._add_event(message, seen, traces)
        self._follow(ids, traces)
        return traces

    def _sent_as(self, ids: Collection[str], sources: Collection[str]) -> frozenset[str]:
        """Return the ids of events that headers name by one of these. Every record has to be decoded for that."""
        ids = {id_ for id_ in ids if _DERIVED_ID.fullmatch(id_)}
        if not ids:
            return frozenset()
        found = set()
        failure: Unavailable | None = None
        for batch in self._scanner.read(self._scanner.ranges_of(sources)):
            for message in batch:
                place = place_of(message)
                try:
                    head = self._sources[place[0]][1].head(message.value())
                except UnreadableRecord:  # the registry has no such schema
                    continue
                except Unavailable as error:
                    failure = error
                    continue
                name = "" if head is None else head.event_id or event_id(*place)
                if name and header_id(name) in ids:
                    found.add(name)
        if not found:  # retention has deleted the event
            found |= {named.event_id for _, named, _ in self._records() if header_id(named.event_id) in ids}
        if not found and failure is not None:
            raise failure  # the event may be one of the records that were not decoded
        return frozenset(found)

    def _add_event(self, message: Message, seen: EventSeen, traces: Traces) -> None:
        traces.events.append(seen)
        if trace_id := _trace_id_of(message):
            traces.trace_ids[seen.place] = trace_id

    def _event(self, message: Message) -> EventSeen:
        place = place_of(message)
        sender, decoder = self._sources[place[0]]
        try:
            event = decoder.decode(message.value(), lambda: event_id(*place))
        except SignpostError as error:  # unreadable, or the registry does not respond
            return EventSeen(place, time_of(message), sender.name, str(error), self._id_in(message.value(), place))
        return EventSeen(place, time_of(message), sender.name, event, event.event_id)

    def _id_in(self, value: bytes | None, place: Place) -> str:
        """Return the id of an unreadable event, empty if its bytes have none."""
        try:
            head = self._sources[place[0]][1].head(value)
        except SignpostError:  # the registry has no such schema, or does not respond
            head = None
        return "" if head is None else head.event_id or event_id(*place)

    def _follow(self, ids: Collection[str], traces: Traces) -> None:
        """Add jobs, outcomes and dead letters. They are younger than the event, so older records are not read."""
        places = {seen.place for seen in traces.events}
        times = [seen.at_ms for seen in traces.events if seen.at_ms > 0]
        since_ms = max(0, min(times) - MARGIN_MS) if times else None
        found = list(self._of(ids, places, since_ms))
        if since_ms is not None and not found:
            found = list(self._of(ids, places, None))  # the producer may have set a wrong time
        for record, named, trace_id in found:
            if named.source is not None and trace_id:
                traces.trace_ids[named.source] = trace_id
            match record:
                case JobSeen():
                    traces.jobs.append(record)
                case LetterSeen():
                    traces.letters.append(record)
                case _:
                    traces.outcomes.append(record)

    def _of(self, ids: Collection[str], places: Collection[Place], since_ms: int | None) -> Iterator[_Found]:
        for found in self._records(ids, since_ms):
            if found.named.event_id in ids or (isinstance(found.record, LetterSeen) and found.named.source in places):
                yield found

    def _records(self, needles: Collection[str] = (), since_ms: int | None = None) -> Iterator[_Found]:
        """Yield jobs and outcomes that contain one of the needles (all if there are none), and all dead letters."""
        parts = [needle.encode() for needle in needles] or [b""]
        for batch in self._scanner.read(self._scanner.ranges_of(self._own, since_ms)):
            for message in batch:
                value = message.value()
                if value is None or not (message.topic() == self._names.dead or any(part in value for part in parts)):
                    continue
                try:
                    record, named = self._read(message, value)
                except UnreadableRecord:
                    continue  # delivery makes a dead letter of an unreadable record
                yield _Found(record, named, _trace_id_of(message))

    def _read(self, message: Message, value: bytes) -> tuple[_Record, _Named]:
        place = place_of(message)
        if place[0] == self._names.outcomes:
            o = self._outcomes.decode(value)
            source = (o["source_topic"], o["source_partition"], o["source_offset"])
            return o, _Named(o["event_id"], o["job_id"], o["subscription_id"], source)
        if place[0] == self._names.dead:
            letter = self._letters.decode(value)
            named = self._named_by(letter)
            return LetterSeen(place, time_of(message), letter, named.event_id, named.source), named
        job = self._jobs.decode(value)
        return JobSeen(place, time_of(message), job), _named_in(job)

    def _named_by(self, letter: DeadLetter) -> _Named:
        if letter.topic in self._sources:
            place = (letter.topic, letter.partition, letter.offset)
            return _Named(self._id_in(letter.value, place), None, None, place)
        try:
            return _named_in(self._jobs.decode(letter.value))
        except UnreadableRecord:
            return _Named(letter.event_id or "", letter.job_id, letter.subscription_id, None)


def _named_in(job: Job) -> _Named:
    source = (job.source_topic, job.source_partition, job.source_offset)
    return _Named(job.event_id, job.job_id, job.subscription_id, source)


def _trace_id_of(message: Message) -> str:
    """Return the id of the trace in the headers of a record, empty if there is none."""
    context = context_of(headers_of(message))
    return "" if context is None else context.trace_id


def _holds(ids: Collection[str]) -> Callable[[Message], bool]:
    """Return a filter that compares bytes, so that only records that may match are decoded."""
    needles = [id_.encode() for id_ in ids]
    derived = {id_ for id_ in ids if _DERIVED_ID.fullmatch(id_)}

    def holds(message: Message) -> bool:
        value = message.value() or b""
        if any(needle in value for needle in needles):
            return True
        return bool(derived) and event_id(*place_of(message)) in derived

    return holds

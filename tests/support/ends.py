"""What became of jobs, read from their topics as these grow: by the number of their event, `evt_<number>`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.avro.codec import DecodedRecord
from schemas.records.delivery import JobCodec, OutcomeCodec
from schemas.records.topics import FIRST
from tests.support.pipeline import ENDS, Pipeline
from tests.support.topics import end_offsets

_PAGE: Final = 5_000
_NO_MORE_S: Final = 0.05
_AT_ONCE_MS: Final = 100


def number_of(event_id: str) -> int:
    """Return the number in an event's id."""
    return int(event_id.removeprefix("evt_"))


class Growing:
    """A topic, read on from where it was read to before."""

    def __init__(self, bootstrap_servers: str, topics: Iterable[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "unused: no position is stored",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
                "log_level": 0,
            }
        )
        places = [TopicPartition(topic, n, 0) for topic in topics for n in end_offsets(bootstrap_servers, topic)]
        self._never_ended = {(place.topic, place.partition) for place in places}
        self._consumer.assign(places)

    def new(self) -> Iterator[Message]:
        """Give what has come since; the first time at least all that was there."""
        while (first := self._consumer.poll(_NO_MORE_S)) is not None or self._never_ended:
            for message in [first, *self._consumer.consume(_PAGE, 0)] if first is not None else ():
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._never_ended.discard((message.topic() or "", message.partition() or 0))
                else:
                    raise KafkaException(error)

    def close(self) -> None:
        """Read no more."""
        self._consumer.close()


class Ends:
    """The outcomes of all jobs of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._growing = Growing(pipeline.bootstrap_servers, [pipeline.names.outcomes])
        self._decode = OutcomeCodec().decode
        self.count: Counter[int] = Counter()  # of ends
        self.started_ms: dict[int, int] = {}  # first attempts
        self._waited_ms: dict[int, int] = {}  # from the append of the event to the start of the first attempt
        # All but the delivery at the first attempt.
        self.before: defaultdict[int, list[DecodedRecord]] = defaultdict(list)

    def look(self) -> None:
        """Take in what has happened since."""
        for message in self._growing.new():
            outcome = self._decode(message.value())
            number, attempt, state = number_of(outcome["event_id"]), outcome["attempt"], outcome["state"]
            if state in ENDS:
                self.count[number] += 1
            if attempt == 1:
                self.started_ms[number] = outcome["at_ms"]
                self._waited_ms[number] = outcome["at_ms"] - outcome["appended_at_ms"]
            if (state, attempt) != ("delivered", 1):
                self.before[number].append(outcome)

    def missing(self, batch: Iterable[int]) -> int:
        """Return how many jobs have not come to an end."""
        return sum(1 for number in batch if number not in self.count)

    def again(self, batch: Iterable[int]) -> int:
        """Return how many ends there are of jobs that had one."""
        return sum(self.count[number] - 1 for number in batch if number in self.count)

    def odd(self, batch: Iterable[int]) -> list[DecodedRecord]:
        """Return the outcomes that are no delivery at the first attempt."""
        return [outcome for number in batch for outcome in self.before.get(number, ())]

    def early(self, batch: range, endpoints: int, wait_ms: int) -> list[tuple[int, int]]:
        """Return the attempts, as endpoint and Unix ms, that began after a 429 of theirs and before what it asked for.

        The jobs were for so many endpoints in turn. Within the time that two parts of a process take for one answer,
        and of what milliseconds cut off, nothing counts.
        """
        began: defaultdict[int, set[int]] = defaultdict(set)
        told: defaultdict[int, list[int]] = defaultdict(list)
        for number in batch:
            endpoint = (number - batch.start) % endpoints
            if number in self.started_ms:
                began[endpoint].add(self.started_ms[number])
            for outcome in self.before.get(number, ()):
                began[endpoint].add(outcome["at_ms"])
                if outcome["status"] == 429:
                    told[endpoint].append(outcome["at_ms"] + outcome["duration_us"] // 1_000)
        return [
            (endpoint, at_ms)
            for endpoint, answered in told.items()
            for at_ms in began[endpoint]
            if any(_AT_ONCE_MS < at_ms - heard_ms < wait_ms - _AT_ONCE_MS for heard_ms in answered)
        ]

    def waits_ms(self, batch: Iterable[int]) -> list[int]:
        """Return the times from the append of an event to the start of its first attempt."""
        return [self._waited_ms[number] for number in batch if number in self._waited_ms]

    def p99_ms(self, *batches: Iterable[int]) -> float:
        """Return the 99th percentile of these times; 0 where there are none."""
        waits = sorted(wait for batch in batches for wait in self.waits_ms(batch))
        return float(waits[int(len(waits) * 0.99)]) if waits else 0.0

    def rate(self, batch: range) -> float:
        """Return how many first attempts a second were started, without the first and last twentieth."""
        times = sorted(self.started_ms[number] for number in batch if number in self.started_ms)
        cut = len(times) // 20
        return (len(times) - 2 * cut) / max(0.001, (times[-1 - cut] - times[cut]) / 1_000)


def rewrites(pipeline: Pipeline, batch: Iterable[int]) -> float:
    """Return how often a job that was parked, or moved to another delay topic, was written for that: the mean."""
    wanted, written = set(batch), Counter[tuple[int, int]]()
    decode = JobCodec().decode
    topics = pipeline.admin.list_topics(timeout=30).topics
    delay_topics = re.compile(pipeline.names.jobs_pattern)
    first = pipeline.names.jobs(FIRST)
    growing = Growing(pipeline.bootstrap_servers, [t for t in topics if delay_topics.match(t) and t != first])
    for message in growing.new():
        job = decode(message.value())
        if (number := number_of(job.event_id)) in wanted:
            written[number, job.attempt] += 1
    growing.close()
    parked: Counter[int] = Counter()
    for (number, attempt), records in written.items():
        parked[number] += records - (attempt > 1)  # of which one is the retry itself
    moved = [count for count in parked.values() if count]
    return sum(moved) / len(moved) if moved else 0.0

"""Outcomes and rewrites of jobs, read from growing topics; a job is known by the number in its event id."""

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
# Tolerance between the clocks of an outcome: two parts of a process see the same response at different times.
_AT_ONCE_MS: Final = 100


def number_of(event_id: str) -> int:
    """Return the number in an event's id."""
    return int(event_id.removeprefix("evt_"))


class Growing:
    """Reads topics incrementally."""

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
        """Yield the records since the last call; the first call yields at least all that were there."""
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
        """Close the consumer."""
        self._consumer.close()


class Ends:
    """The outcomes of all jobs of a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._growing = Growing(pipeline.bootstrap_servers, [pipeline.names.outcomes])
        self._decode = OutcomeCodec().decode
        self.count: Counter[int] = Counter()  # final outcomes of each job
        self.started_ms: dict[int, int] = {}  # start of the first attempt
        self._waited_ms: dict[int, int] = {}  # append of the event to start of the first attempt
        # All except deliveries at the first attempt.
        self.before: defaultdict[int, list[DecodedRecord]] = defaultdict(list)

    def look(self) -> None:
        """Read new outcomes."""
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
        """Return the number of jobs that have not ended."""
        return sum(1 for number in batch if number not in self.count)

    def again(self, batch: Iterable[int]) -> int:
        """Return the number of surplus final outcomes."""
        return sum(self.count[number] - 1 for number in batch if number in self.count)

    def odd(self, batch: Iterable[int]) -> list[DecodedRecord]:
        """Return the outcomes except deliveries at the first attempt."""
        return [outcome for number in batch for outcome in self.before.get(number, ())]

    def early(self, batch: range, endpoints: int, wait_ms: int) -> list[tuple[int, int]]:
        """Return the attempts, as endpoint and Unix ms, that started earlier than a 429 with Retry-After allowed.

        The jobs of the batch were for `endpoints` endpoints in turn. Attempts within _AT_ONCE_MS of a bound may pass.
        """
        started: defaultdict[int, set[int]] = defaultdict(set)
        throttled: defaultdict[int, list[int]] = defaultdict(list)
        for number in batch:
            endpoint = (number - batch.start) % endpoints
            if number in self.started_ms:
                started[endpoint].add(self.started_ms[number])
            for outcome in self.before.get(number, ()):
                started[endpoint].add(outcome["at_ms"])
                if outcome["status"] == 429:
                    throttled[endpoint].append(outcome["at_ms"] + outcome["duration_us"] // 1_000)
        return [
            (endpoint, at_ms)
            for endpoint, responses_ms in throttled.items()
            for at_ms in started[endpoint]
            if any(_AT_ONCE_MS < at_ms - response_ms < wait_ms - _AT_ONCE_MS for response_ms in responses_ms)
        ]

    def waits_ms(self, batch: Iterable[int]) -> list[int]:
        """Return the times from the append of the event to the start of the first attempt."""
        return [self._waited_ms[number] for number in batch if number in self._waited_ms]

    def p99_ms(self, *batches: Iterable[int]) -> float:
        """Return the 99th percentile of these times; 0 if there are none."""
        waits = sorted(wait for batch in batches for wait in self.waits_ms(batch))
        return float(waits[int(len(waits) * 0.99)]) if waits else 0.0

    def rate(self, batch: range) -> float:
        """Return the rate of first attempts per second, without the first and last twentieth."""
        times = sorted(self.started_ms[number] for number in batch if number in self.started_ms)
        cut = len(times) // 20
        return (len(times) - 2 * cut) / max(0.001, (times[-1 - cut] - times[cut]) / 1_000)


def rewrites(pipeline: Pipeline, batch: Iterable[int]) -> float:
    """Return the mean number of records per deferred job, retries not counted."""
    wanted = set(batch)
    written = Counter[tuple[int, int]]()
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
    deferred: Counter[int] = Counter()
    for (number, attempt), records in written.items():
        deferred[number] += records - (attempt > 1)  # one of them is the retry itself
    counts = [count for count in deferred.values() if count]
    return sum(counts) / len(counts) if counts else 0.0

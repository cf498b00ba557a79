"""Committed positions of a consumer group, and the begin and end offsets of each partition.

A consumer that never joins the group requests them in a helper thread. `AdminClient` has a call for a group's offsets,
but it crashes the process after a coordinator has moved (librdkafka issue 5040). With `read_committed` the response
waits for the offsets of an open transaction (KIP-447).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.adaptive_timeout import AdaptiveTimeout
from consumers.kafka.admin import EARLIEST, LATEST, REQUEST_ERRORS, failed, list_offsets, sentence_of
from consumers.kafka.threads import in_thread
from schemas.catalog.errors import NoResponse, Unavailable

ASK_AGAIN_S: Final = 0.05
# A client looks for the coordinator for 45 s.
_COMMIT_S: Final = 60.0

_log = structlog.get_logger("positions")

T = TypeVar("T")
PartitionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The offsets of one partition; `offset` is None if nothing was ever committed."""

    offset: int | None
    metadata: str
    begin: int
    end: int


class CommittedPositions:
    """Requests the positions of one group; `kafka` are the properties of the connection."""

    def __init__(
        self, kafka: Mapping[str, str], admin: AdminClient, group: str, timeout: AdaptiveTimeout | None = None
    ) -> None:
        self._kafka = kafka
        self._admin = admin
        self._group = group
        self._timeout = timeout or AdaptiveTimeout()
        self.topics: frozenset[str] = frozenset()  # that existed at the last `fetch`

    def fetch(self, partitions: Sequence[PartitionKey]) -> dict[PartitionKey, PartitionOffsets]:
        """Return the offsets of these partitions; blocks, and raises KafkaException if a request fails."""
        # After a broker restart requests fail (FENCED_LEADER_EPOCH) until the client refreshes its metadata.
        with self._timeout.measured():
            self.topics = frozenset(self._admin.list_topics(timeout=self._timeout.seconds).topics)
            return self._fetch(partitions)

    def fetch_topics(self, topics: Iterable[str]) -> dict[PartitionKey, PartitionOffsets]:
        """Return the offsets of all partitions of those topics that exist; blocks and raises as `fetch`."""
        present = self._admin.list_topics(timeout=self._timeout.seconds).topics
        return self._fetch(
            [(topic, number) for topic in topics if topic in present for number in sorted(present[topic].partitions)]
        )

    def _fetch(self, partitions: Sequence[PartitionKey]) -> dict[PartitionKey, PartitionOffsets]:
        if not partitions:
            return {}
        wanted = [TopicPartition(topic, partition) for topic, partition in partitions]
        committed = self._committed(wanted)
        timeout_s = self._timeout.seconds
        requests = [
            list_offsets(self._admin, partitions, spec, IsolationLevel.READ_UNCOMMITTED, timeout_s)
            for spec in (EARLIEST, LATEST)
        ]
        begins, ends = (request.wait() for request in requests)
        return {
            key: PartitionOffsets(offset if offset >= 0 else None, metadata, begins[key], ends[key])
            for key, (offset, metadata) in committed.items()
        }

    def _committed(self, wanted: list[TopicPartition]) -> dict[PartitionKey, tuple[int, str]]:
        own = {"group.id": self._group, "isolation.level": "read_committed", "enable.auto.commit": False}
        consumer = Consumer({**self._kafka, **own}, logger=logging.getLogger("signpost.kafka"))
        try:
            committed = consumer.committed(wanted, timeout=self._timeout.seconds)
        finally:
            consumer.close()
        for one in committed:
            if one.error is not None:
                raise KafkaException(one.error)
        return {(one.topic, one.partition): (one.offset, one.metadata or "") for one in committed}


def commit_positions(kafka: Mapping[str, str], group: str, positions: Mapping[PartitionKey, int]) -> None:
    """Commit positions for a group without members, without their metadata; Unavailable if the brokers refuse.

    A consumer that does not join commits them: the admin client's calls can crash the process (librdkafka issue 5040).
    Blocks. The commit has no timeout of its own, so it runs in a thread.
    """
    try:
        committed = in_thread("commit", _commit, kafka, group, positions).result(_COMMIT_S)
    except KafkaException as error:
        raise failed(error, f"the positions of the group {group} were not set") from error
    except TimeoutError as error:
        raise NoResponse(
            f"the positions of the group {group} may be set or not: no response within {_COMMIT_S:g} s"
        ) from error
    for one in committed:
        if one.error is not None:
            raise Unavailable(f"the position in {one.topic} partition {one.partition} was not set: {one.error.str()}")


def _commit(kafka: Mapping[str, str], group: str, positions: Mapping[PartitionKey, int]) -> Sequence[TopicPartition]:
    own = {"group.id": group, "enable.auto.commit": False}
    consumer = Consumer({**kafka, **own}, logger=logging.getLogger("signpost.kafka"))
    try:
        offsets = [TopicPartition(*key, offset) for key, offset in positions.items()]
        return consumer.commit(offsets=offsets, asynchronous=False) or ()
    finally:
        consumer.close()


class PositionsQuery(Generic[T]):
    """One request, which `fetch` repeats in a helper thread until it succeeds; `poll` never blocks."""

    def __init__(self, fetch: Callable[[Sequence[PartitionKey]], T], partitions: Sequence[PartitionKey]) -> None:
        self._fetch = fetch
        self._partitions = partitions
        self._future: Future[T] | None = None
        self._not_before_s = 0.0
        self._since_s: float | None = None
        self._last_error: str | None = None

    def awaited_s(self, now_s: float) -> float:
        """Return how long the result has been awaited."""
        return 0.0 if self._since_s is None else now_s - self._since_s

    def poll(self, now_s: float) -> T | None:
        """Return the result once it has arrived (`now_s`: a monotonic clock, in seconds)."""
        if self._since_s is None:
            self._since_s = now_s
        if self._future is None:
            if now_s >= self._not_before_s:
                self._future = in_thread("positions", self._fetch, self._partitions)
            return None
        if not self._future.done():
            return None
        try:
            return self._future.result()
        except REQUEST_ERRORS as error:
            reason = sentence_of(error)
            if reason != self._last_error:
                self._last_error = reason
                _log.info("positions.fetch_failed", error=reason)
            self._future = None
            self._not_before_s = now_s + ASK_AGAIN_S
            return None


_HOPELESS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)


def failed_for_good(error: KafkaError) -> str:
    """Return the message for a fatal error of a consumer; librdkafka's own repeats itself."""
    if "fenced" in error.str():
        return "another process has taken this instance id: each process of a role needs its own --instance"
    return f"the consumer has a fatal error: {error.str()}"


def refuse_hopeless(error: KafkaError, topic: str | None) -> None:
    """Raise Unavailable if a consumer will never read again."""
    if error.fatal() or error.code() == KafkaError._FATAL:  # in a message, `fatal()` is false
        raise Unavailable(failed_for_good(error))
    if error.code() in _HOPELESS:
        raise Unavailable(f"{topic or 'the group'} cannot be read: {error.str()}")


def is_lost_broker(error: KafkaError) -> bool:
    """Return whether an error only means that brokers are unreachable for now."""
    return bool(error.retriable()) or error.code() in {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
    }

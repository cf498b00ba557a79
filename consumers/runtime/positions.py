"""Committed positions of a consumer group, and where the log of each partition begins and ends: asked without waiting.

`require_stable` waits for offsets that a transaction has not ended yet (KIP-447): the broker answers
UNSTABLE_OFFSET_COMMIT for such a partition, also right after `commit_transaction` returned, and is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # OffsetSpec is missing from its __all__
    AdminClient,
    OffsetSpec,
)

ASK_AGAIN_S: Final = 0.05
_REQUEST_TIMEOUT_S: Final = 5.0

_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # it has no annotations
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above

PartitionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one partition: `offset` is None where nothing was ever committed."""

    offset: int | None
    metadata: str
    begin: int
    end: int


class PositionsQuery:
    """One question for the positions of some partitions; `poll` until it is answered."""

    def __init__(self, admin: AdminClient, group: str, partitions: Sequence[PartitionKey]) -> None:
        self._admin = admin
        self._group = group
        self._partitions = partitions
        self._committed: Future[Any] | None = None
        self._bounds: list[tuple[PartitionKey, Future[Any], Future[Any]]] = []
        self._offsets: dict[PartitionKey, tuple[int | None, str]] = {}
        self._not_before = 0.0
        self.trouble: str | None = None  # what the broker said last, while there is no answer

    def poll(self, now_s: float) -> dict[PartitionKey, Found] | None:
        """Return the answer once it is there; never blocks (`now_s`: a monotonic clock, in seconds)."""
        if now_s < self._not_before:
            return None
        if self._committed is None:
            self._ask()
            return None
        futures = [self._committed, *(f for _, begin, end in self._bounds for f in (begin, end))]
        if not all(future.done() for future in futures):
            return None
        try:
            return self._collect()
        except KafkaException as error:
            self.trouble = str(error.args[0])
            self._committed = None
            self._not_before = now_s + ASK_AGAIN_S
            return None

    def _ask(self) -> None:
        wanted = [TopicPartition(topic, partition) for topic, partition in self._partitions]
        request = ConsumerGroupTopicPartitions(self._group, wanted)
        answers = self._admin.list_consumer_group_offsets(
            [request], require_stable=True, request_timeout=_REQUEST_TIMEOUT_S
        )
        self._committed = answers[self._group]
        begins = self._list_offsets(wanted, _EARLIEST)
        ends = self._list_offsets(wanted, _LATEST)
        self._bounds = [(key, begins[key], ends[key]) for key in self._partitions]

    def _list_offsets(self, wanted: list[TopicPartition], spec: OffsetSpec) -> dict[PartitionKey, Future[Any]]:
        answers = self._admin.list_offsets(
            dict.fromkeys(wanted, spec),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_REQUEST_TIMEOUT_S,
        )
        return {(partition.topic, partition.partition): future for partition, future in answers.items()}

    def _collect(self) -> dict[PartitionKey, Found]:
        assert self._committed is not None
        for partition in self._committed.result().topic_partitions:
            if partition.error is not None:
                raise KafkaException(partition.error)
            offset = partition.offset if partition.offset >= 0 else None
            self._offsets[partition.topic, partition.partition] = (offset, partition.metadata or "")
        return {
            key: Found(*self._offsets[key], begin.result().offset, end.result().offset)
            for key, begin, end in self._bounds
        }


def is_lost_broker(error: KafkaError) -> bool:
    """Tell whether an error means only that brokers are out of reach for now."""
    return bool(error.retriable()) or error.code() in {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._WAIT_COORD,
    }

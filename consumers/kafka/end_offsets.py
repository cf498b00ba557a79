"""End offsets of partitions that are not fetched: the client learns new ends only by fetching."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import LATEST, list_offsets, offset_of
from consumers.kafka.positions import PartitionKey


class EndOffsets:
    """Requests ends in the background, one request at a time; never blocks."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._requests: dict[PartitionKey, Future[Any]] = {}
        self._ends: dict[PartitionKey, int] = {}

    def poll(self, partitions: Iterable[PartitionKey]) -> None:
        """Take the responses that have arrived, and request the ends of these partitions."""
        if not all(request.done() for request in self._requests.values()):
            return
        for key, request in self._requests.items():
            try:
                self._ends[key] = offset_of(request.result())
            except KafkaException:
                continue  # the next poll repeats the request
        wanted = list(partitions)
        self._requests = list_offsets(self._admin, wanted, LATEST, IsolationLevel.READ_COMMITTED) if wanted else {}

    def get(self, key: PartitionKey) -> int:
        """Return the last known end of a partition, 0 if none is known."""
        return self._ends.get(key, 0)

    def clear(self) -> None:
        """Forget all ends: their partitions were revoked."""
        self._requests = {}
        self._ends = {}

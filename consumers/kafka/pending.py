"""Responses to a request of the admin client, with a deadline.

The client loses requests to a broker that was stalled: their futures never end (docs/architecture/kafka-clients.md). A
request without a response counts as timed out after twice its timeout, and its caller requests the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from confluent_kafka import KafkaError, KafkaException

K = TypeVar("K")
V = TypeVar("V")


class Pending(Generic[K, V]):
    """The responses to one request, by key; `read` returns the value of a response.

    `timeout_s` is the timeout of the request. The client applies it twice: to find the leaders, then to ask them.
    """

    def __init__(self, futures: Mapping[K, Future[Any]], read: Callable[[Any], V], timeout_s: float) -> None:
        self._futures = futures
        self._read = read
        self._lost_after_s = 2 * timeout_s
        self._since_s: float | None = None

    def is_over(self, now_s: float) -> bool:
        """Return whether all responses have arrived, or the request is lost; `now_s` is a monotonic clock."""
        if self._since_s is None:
            self._since_s = now_s
        return self._have_arrived() or now_s - self._since_s > self._lost_after_s

    def poll(self, now_s: float) -> dict[K, V] | None:
        """Return the responses once all have arrived. Never blocks. KafkaException if one failed, or they are lost."""
        return self.responses() if self.is_over(now_s) else None

    def wait(self) -> dict[K, V]:
        """Wait for the responses; KafkaException as in `poll`."""
        wait(self._futures.values(), self._lost_after_s)
        return self.responses()

    def responses(self) -> dict[K, V]:
        """Return the responses; KafkaException if one failed, or is lost. Call it when `is_over`."""
        if not self._have_arrived():
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, f"no response of the brokers within {self._lost_after_s:g} s")
            )
        return {key: self._read(future.result()) for key, future in self._futures.items()}

    def _have_arrived(self) -> bool:
        return all(future.done() for future in self._futures.values())

"""Connectivity monitor of a role: whether its brokers respond, for the log, the metric and /readyz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from consumers.kafka.admin import REQUEST_ERRORS, metadata_of, new_admin
from consumers.kafka.threads import in_thread

POLL_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 10.0  # a slow broker is not disconnected


class ConnectivityMonitor:
    """Takes the errors of a role's clients; after a loss of all brokers it polls the cluster until one responds.

    Each poll has a new client. `describe_cluster` would end the process if the cluster lists no broker
    (docs/architecture/kafka-clients.md).
    """

    def __init__(self, kafka: Mapping[str, str], log: FilteringBoundLogger, waiting: Callable[[bool], None]) -> None:
        self._kafka = kafka
        self._log = log
        self._waiting = waiting
        self._request: Future[Any] | None = None
        self._requested_s = 0.0
        self.disconnected: str | None = None  # the reason, while no broker responds

    def on_error(self, error: KafkaError) -> None:
        """Handle an error of a client (its `error_cb`)."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.disconnected is not None:
            return
        self.disconnected = f"no broker responds: {error.str()}"
        self._waiting(True)
        self._log.warning("kafka.disconnected", error=error.str(), waiting=True)

    def poll(self, now_s: float) -> None:
        """Look for a broker while disconnected; never blocks. `now_s` is a monotonic clock."""
        if self.disconnected is None:
            return
        if self._request is None:
            if now_s >= self._requested_s + POLL_EVERY_S:
                self._request = in_thread("connectivity", _find_broker, self._kafka)
                self._requested_s = now_s
            return
        if not self._request.done():
            if now_s > self._requested_s + 2 * _TIMEOUT_S:
                self._request = None
            return
        request, self._request = self._request, None
        try:
            request.result()
        except REQUEST_ERRORS:
            return
        self.disconnected = None
        self._waiting(False)
        self._log.info("kafka.connected")


def _find_broker(kafka: Mapping[str, str]) -> None:
    """Return if a broker responds; Unavailable if none does."""
    metadata_of(new_admin(kafka), _TIMEOUT_S)

"""Connectivity monitor of a role: whether its brokers respond, for the log, the metric and /readyz."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from structlog.typing import FilteringBoundLogger

POLL_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 10.0  # a slow broker is not disconnected


class ConnectivityMonitor:
    """Takes the errors of a role's clients; after a loss of all brokers it polls the cluster until one responds."""

    def __init__(self, admin: AdminClient, log: FilteringBoundLogger, waiting: Callable[[bool], None]) -> None:
        self._admin = admin
        self._log = log
        self._waiting = waiting
        self._request: Future[Any] | None = None
        self._request_at_s = 0.0
        self.disconnected: str | None = None  # the reason, while no broker responds

    def on_error(self, error: KafkaError) -> None:
        """Handle an error of a client (its `error_cb`)."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.disconnected is not None:
            return
        self.disconnected = f"no broker responds: {error.str()}"
        self._waiting(True)
        self._log.warning("kafka.disconnected", error=error.str(), waiting=True)

    def poll(self, now_s: float) -> None:
        """Request the description of the cluster while disconnected; never blocks."""
        if self.disconnected is None:
            return
        if self._request is None:
            if now_s >= self._request_at_s:
                self._request = self._admin.describe_cluster(request_timeout=_TIMEOUT_S)
                self._request_at_s = now_s + POLL_EVERY_S
            return
        if not self._request.done():
            return
        request = self._request
        self._request = None
        try:
            request.result()
        except KafkaException:
            return
        self.disconnected = None
        self._waiting(False)
        self._log.info("kafka.connected")

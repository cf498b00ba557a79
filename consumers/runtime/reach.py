"""Whether the brokers can be reached, for the log, the metric and /readyz of a role: asked only while in doubt."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from consumers.runtime.admin import Log

ASK_EVERY_S: Final = 1.0
_ANSWER_S: Final = 10.0  # a broker that is slow is not away


class Reach:
    """Hears the errors of a role's clients, and asks for the cluster until it answers again."""

    def __init__(self, admin: AdminClient, log: Log, waiting: Callable[[bool], None]) -> None:
        self._admin = admin
        self._log = log
        self._waiting = waiting
        self._question: Future[Any] | None = None
        self._ask_at_s = 0.0
        self.away: str | None = None  # why, while no broker answers

    def error(self, error: KafkaError) -> None:
        """Take note of an error of a client (its `error_cb`)."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.away is not None:
            return
        self.away = f"no broker answers: {error.str()}"
        self._waiting(True)
        self._log.warning("kafka.away", error=error.str(), waiting=True)

    def poll(self, now_s: float) -> None:
        """Ask on, while the brokers are away; never blocks."""
        if self.away is None:
            return
        if self._question is None:
            if now_s >= self._ask_at_s:
                self._question = self._admin.describe_cluster(request_timeout=_ANSWER_S)
                self._ask_at_s = now_s + ASK_EVERY_S
            return
        if not self._question.done():
            return
        question, self._question = self._question, None
        try:
            question.result()
        except KafkaException:
            return
        self.away = None
        self._waiting(False)
        self._log.info("kafka.back")

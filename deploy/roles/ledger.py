"""Composition of a ledger process: consumer, database, loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from confluent_kafka.admin import AdminClient
from sqlalchemy import make_url

from consumers.kafka.connectivity import ConnectivityMonitor
from consumers.kafka.topic_reader import TopicReader
from consumers.kafka.topics import ledger_group
from consumers.kafka.waiting_records import TUNING, WaitingRecords
from consumers.ledger.database import SQLITE, migrate
from consumers.ledger.loop import LedgerLoop
from consumers.ledger.outcome_traces import OutcomeTraces
from consumers.ledger.postgresql import PostgresWriter
from consumers.ledger.records import readers_of
from consumers.ledger.source import LedgerSource
from consumers.ledger.sqlite import SqliteWriter
from consumers.ledger.writer import DatabaseAway, LedgerWriter
from consumers.service.metrics import LedgerMetrics
from consumers.service.startup import await_topics
from consumers.service.status_server import StatusPage
from consumers.service.topic_retention import watching_retention
from deploy.config.wanted_topics import wanted_topics
from deploy.roles.tracing import tracing_of
from schemas.settings.settings import Settings

if TYPE_CHECKING:
    from consumers.service.opentelemetry_spans import Tracing

_RETRY_S = 1.0
_log = structlog.get_logger("ledger")


@dataclass(slots=True)
class LedgerRole:
    """A ledger process, ready to run. `loop` exists once the database has its tables."""

    settings: Settings
    instance: int | None
    url: str
    metrics: LedgerMetrics
    admin: AdminClient
    tracing: Tracing | None = None
    loop: LedgerLoop | None = None
    starting: str | None = "the topics have not been checked yet"
    pages: Mapping[str, StatusPage] = field(default_factory=dict)

    def why_not_ready(self) -> str | None:
        """Return why nothing is written, None if it is ready."""
        return self.starting or (self.loop.why_not_ready() if self.loop else "the database has not been opened yet")

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        return self.loop is not None and self.loop.unanswered

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Write until `stopping`; True if everything read is written. Unavailable after a fatal Kafka error."""
        ready = await_topics(
            self.settings.kafka_properties(),
            self.admin,
            wanted_topics(self.settings),
            self.settings.names,
            log=_log,
            waiting=self._on_waiting,
            stopping=stopping,
        )
        if not ready or not self._await_database(stopping):
            return True
        self.loop = self._loop()
        _log.info("ledger.started", address=address, database=make_url(self.url).get_backend_name())
        try:
            with watching_retention(self.admin, readers_of(self.settings.names), self.metrics.set_retention):
                return self.loop.run(stopping)
        finally:
            if self.tracing is not None:
                self.tracing.close()

    def _await_database(self, stopping: Callable[[], bool]) -> bool:
        """Wait until the database has its tables; False if `stopping`."""
        while not stopping():
            try:
                migrate(self.url)
            except DatabaseAway as error:
                if self.starting != str(error):
                    _log.warning("database.disconnected", error=str(error))
                self.starting = str(error)
                self.metrics.set_waiting_for_database(True)
                time.sleep(_RETRY_S)
            else:
                self.starting = None
                self.metrics.set_waiting_for_database(False)
                return True
        return False

    def _loop(self) -> LedgerLoop:
        kafka = self.settings.kafka_properties()
        names = self.settings.names
        group = ledger_group(names)
        connectivity = ConnectivityMonitor(kafka, _log, self.metrics.set_waiting_for_broker)
        return LedgerLoop(
            names=names,
            source=LedgerSource(kafka, group, readers_of(names), self.instance, on_error=connectivity.on_error),
            writer=writer_of(self.url),
            reader=TopicReader(kafka, self.admin, group),
            connectivity=connectivity,
            waiting=WaitingRecords(TopicReader({**TUNING, **kafka}, self.admin, group)),
            metrics=self.metrics,
            retention_days=self.settings.ledger_retention // timedelta(days=1),
            now_s=time.monotonic,
            now_ms=lambda: time.time_ns() // 1_000_000,
            traces=None if self.tracing is None else OutcomeTraces(self.tracing.spans),
        )

    def _on_waiting(self, reason: str | None) -> None:
        self.starting = reason
        self.metrics.set_waiting_for_broker(reason is not None)


def writer_of(url: str) -> LedgerWriter:
    """Return the writer for a database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == SQLITE:
        return SqliteWriter(Path(parsed.database or ""))
    return PostgresWriter(url)


def build(url: str, settings: Settings, instance: int | None) -> LedgerRole:
    """Create the parts of a ledger process, without a request to a broker or the database."""
    admin = AdminClient({**settings.kafka_properties()}, logger=logging.getLogger("signpost.kafka"))
    metrics = LedgerMetrics()
    return LedgerRole(settings, instance, url, metrics, admin, tracing_of(settings, "ledger", metrics))

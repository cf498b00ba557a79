"""Composition of a router process: Kafka clients, tables, source, output, the loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from confluent_kafka.admin import AdminClient

from consumers.kafka.connectivity import ConnectivityMonitor
from consumers.kafka.positions import CommittedPositions
from consumers.kafka.schema_registry import SchemaRegistry
from consumers.kafka.source_positions import SourcesTopic
from consumers.kafka.topic_reader import TopicReader
from consumers.kafka.topics import router_group
from consumers.kafka.truncation import Truncation
from consumers.kafka.waiting_records import TUNING, WaitingRecords
from consumers.router.event_traces import EventTraces
from consumers.router.loop import RouterLoop
from consumers.router.output import Output
from consumers.router.output import producer_config as producer_of
from consumers.router.routing import Router, SizeLimits
from consumers.router.schemas import BackgroundSchemas
from consumers.router.source import Source, consumer_config
from consumers.router.source_positions import SourcePositionsRecorder
from consumers.router.subscriptions import Subscribers
from consumers.router.tables import Tables, interpret_health
from consumers.service.metrics import RouterMetrics
from consumers.service.startup import await_topics
from consumers.service.status_server import StatusPage
from consumers.service.topic_retention import watching_retention
from consumers.subscriptions.table import SubscriptionTable
from deploy.config.senders import senders_of
from deploy.config.wanted_topics import sources_of, wanted_topics
from deploy.roles.tracing import tracing_of
from schemas.catalog.errors import SettingsError
from schemas.senders.sender import Sender
from schemas.settings.settings import Settings

if TYPE_CHECKING:
    from consumers.service.opentelemetry_spans import Tracing

_log = structlog.get_logger("router")


def source_senders(settings: Settings) -> Mapping[str, Sender]:
    """Return the sender of each source topic; SettingsError if a sender is not loaded."""
    senders = senders_of(settings)
    for source in sources_of(settings):
        if source.sender not in senders:
            known = ", ".join(senders)
            raise SettingsError(f"sources: {source.topic}: unknown sender {source.sender!r}; known senders: {known}")
    return {source.topic: senders[source.sender] for source in sources_of(settings)}


@dataclass(slots=True)
class RouterRole:
    """A router process, ready to run."""

    settings: Settings
    metrics: RouterMetrics
    admin: AdminClient
    table: Tables
    loop: RouterLoop
    topics: tuple[str, ...]
    registry: SchemaRegistry | None
    tracing: Tracing | None = None
    starting: str | None = "the topics have not been checked yet"
    pages: Mapping[str, StatusPage] = field(default_factory=dict)

    def why_not_ready(self) -> str | None:
        """Return why nothing is routed, None if it is ready."""
        return self.starting or self.loop.not_ready()

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        return self.starting is None and self.loop.unanswered

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Route until `stopping`; True if everything sent is committed. Unavailable after a fatal Kafka error."""
        names = self.settings.names
        kafka = self.settings.kafka_properties()
        wanted = wanted_topics(self.settings)
        if not await_topics(
            kafka,
            self.admin,
            wanted,
            names,
            sources=self.topics,
            log=_log,
            waiting=self._on_waiting,
            stopping=stopping,
        ):
            return True
        _log.info("router.started", address=address, prefix=self.settings.prefix, sources=self.topics)
        try:
            with watching_retention(self.admin, self.topics, self.metrics.set_retention):
                return self.loop.run(self.topics, stopping)
        finally:
            self.table.close()
            if self.registry is not None:
                self.registry.close()
            if self.tracing is not None:
                self.tracing.close()

    def _on_waiting(self, reason: str | None) -> None:
        self.starting = reason
        self.metrics.set_waiting_for_broker(reason is not None)


def build(settings: Settings, instance: int | None) -> RouterRole:
    """Create and connect the parts of a router process, without a request to a broker."""
    kafka = settings.kafka_properties()
    names = settings.names
    senders = source_senders(settings)
    metrics = RouterMetrics({name: tuple(sender.event_types) for name, sender in senders_of(settings).items()})
    tracing = tracing_of(settings, "router", metrics)
    admin = AdminClient({**kafka}, logger=logging.getLogger("signpost.kafka"))
    connectivity = ConnectivityMonitor(kafka, _log, metrics.set_waiting_for_broker)
    subscribers = Subscribers()
    table = Tables(
        SubscriptionTable(kafka, names, subscribers.interpret, subscribers.change),
        SubscriptionTable(kafka, names, interpret_health, subscribers.on_health, names.health),
    )
    positions = CommittedPositions(kafka, admin, router_group(names))
    output = Output(producer_of(kafka, settings.max_event), names, connectivity.on_error)
    source = Source(
        consumer_config(kafka, router_group(names), instance),
        admin,
        positions,
        SourcePositionsRecorder(SourcesTopic(kafka, admin, names), positions, _unix_ms),
        settings.start_at,
        on_error=connectivity.on_error,
        on_truncated=_on_truncated(metrics, output),
        now_s=time.monotonic,
    )
    limits = SizeLimits(max_event=settings.max_event, max_body=settings.max_body)
    registry = None if settings.schema_registry_url is None else SchemaRegistry(settings.schema_registry_url)
    schemas = None if registry is None else BackgroundSchemas(registry, time.monotonic)
    loop = RouterLoop(
        router=Router(senders, subscribers, limits, _unix_ms, schemas, readable_since_ms=source.readable_since_ms),
        subscribers=subscribers,
        table=table,
        source=source,
        output=output,
        connectivity=connectivity,
        metrics=metrics,
        waiting=WaitingRecords(TopicReader({**TUNING, **kafka}, admin, router_group(names))),
        now_s=time.monotonic,
        max_uncommitted=settings.max_uncommitted,
        drain_timeout=settings.drain_timeout,
        traces=None if tracing is None else EventTraces(tracing.spans),
    )
    return RouterRole(settings, metrics, admin, table, loop, tuple(senders), registry, tracing)


def _on_truncated(metrics: RouterMetrics, output: Output) -> Callable[[Truncation], None]:
    def on_truncated(lost: Truncation) -> None:
        metrics.on_truncated(lost.count)
        output.send_operation(*lost.record(_unix_ms()))

    return on_truncated


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000

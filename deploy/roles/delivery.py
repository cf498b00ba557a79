"""Composition of a delivery process: Kafka clients, subscriptions table, the parts of delivery, the loop."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.delivery.admission import AdmissionControl
from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.endpoint import Endpoint, endpoints_of
from consumers.delivery.endpoint_report import EndpointReport, EndpointReports
from consumers.delivery.housekeeping import Housekeeping
from consumers.delivery.http.client import HttpClient
from consumers.delivery.job_trace import JobTraces
from consumers.delivery.long_timeouts import LongTimeouts
from consumers.delivery.loop import Clocks, DeliveryLoop, ProcessLimits
from consumers.delivery.partitions.assignment import Assignment
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.reader import Reader
from consumers.delivery.partitions.recovery import PartitionRecovery
from consumers.delivery.results.handler import ResultHandler
from consumers.delivery.results.health import HealthTracker
from consumers.delivery.results.outcome_log import OutcomeLog
from consumers.delivery.results.recorder import Recorder
from consumers.delivery.scheduler import Scheduler
from consumers.kafka.compacted_partition import CompactedPartition
from consumers.kafka.group_member import member_config
from consumers.kafka.hanging import Sweep
from consumers.kafka.positions import CommittedPositions
from consumers.kafka.topic_reader import TopicReader
from consumers.kafka.topics import delivery_group
from consumers.kafka.transactions import Transactions, producer_config
from consumers.kafka.waiting_records import TUNING, WaitingRecords
from consumers.service.compiled import is_compiled
from consumers.service.metrics import DeliveryMetrics
from consumers.service.snapshots import Snapshots
from consumers.service.startup import await_topics
from consumers.service.status_server import StatusPage
from consumers.service.topic_retention import watching_retention
from consumers.subscriptions.table import SubscriptionTable
from deploy.config.drain import check_drain_timeout
from deploy.config.egress import egress_policy_of
from deploy.config.sealing_key import sealer_of
from deploy.config.senders import senders_of
from deploy.config.wanted_topics import wanted_topics
from deploy.roles.delivery_rules import admission_limits, health_policy, outcome_log_of
from deploy.roles.endpoints_page import endpoints_page
from deploy.roles.http_client import http_client_of
from deploy.roles.tracing import tracing_of
from schemas.input.durations import milliseconds
from schemas.network.egress import EgressPolicy
from schemas.records.topics import RECORD_OVERHEAD, delays_of
from schemas.senders.sender import Sender
from schemas.settings.settings import Settings

if TYPE_CHECKING:
    from consumers.service.opentelemetry_spans import Tracing

_log = structlog.get_logger("delivery")
_CLOCKS: Final = Clocks(lambda: time.time_ns() // 1_000_000, lambda: time.monotonic_ns() // 1_000_000)


@dataclass(slots=True)
class DeliveryRole:
    """A delivery process, ready to run."""

    settings: Settings
    metrics: DeliveryMetrics
    admin: AdminClient
    transactions: Transactions
    loop: DeliveryLoop
    reports: Snapshots[EndpointReport]
    outcome_log: OutcomeLog
    tracing: Tracing | None = None
    starting: str | None = "the topics have not been checked yet"

    @property
    def pages(self) -> Mapping[str, StatusPage]:
        """Pages of the status server other than metrics and checks."""
        return {"/endpoints": partial(endpoints_page, self.reports)}

    def why_not_ready(self) -> str | None:
        """Return why nothing is sent, None if it is ready."""
        return self.starting or self.loop.paused_by

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        return self.starting is None and self.loop.unanswered

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Deliver until `stopping`; True if all results are committed."""
        names = self.settings.names
        kafka = self.settings.kafka_properties()
        wanted = wanted_topics(self.settings)
        if not await_topics(kafka, self.admin, wanted, names, log=_log, waiting=self._on_waiting, stopping=stopping):
            return True
        if not self.transactions.start(stopping):
            return True
        delay_topics = [topic.name for topic in wanted if re.match(names.jobs_pattern, topic.name)]
        _log.info("delivery.started", address=address, prefix=self.settings.prefix, compiled=is_compiled())
        try:
            with watching_retention(self.admin, delay_topics, self.metrics.set_retention):
                return self.loop.run(names.jobs_pattern, stopping)
        finally:
            self.outcome_log.flush()
            self.transactions.close()
            if self.tracing is not None:
                self.tracing.close()

    def _on_waiting(self, reason: str | None) -> None:
        self.starting = reason
        self.metrics.set_waiting_for_broker(reason is not None)


def consumer_config(kafka: dict[str, str], group: str, instance: int | None) -> dict[str, Any]:
    """Return librdkafka's properties for the consumer of the delay topics."""
    tuning = {
        # These two bound the records read ahead, which are most of the process's memory. The queue limit alone is not
        # enough: one fetch response has up to 128 KiB of each partition, compressed, and all of it is decompressed at
        # once.
        "queued.max.messages.kbytes": 512,
        "fetch.message.max.bytes": 128 * 1_024,
        # Time until the next fetch while the queue is full. The default of one second would starve the loop.
        "fetch.queue.backoff.ms": 10,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
    return member_config(kafka, group, instance, tuning=tuning)


def build(settings: Settings, instance: int | None) -> DeliveryRole:
    """Create and connect the parts of a delivery process, without a request to a broker."""
    check_drain_timeout(settings, senders_of(settings))
    parts = _parts(settings, instance)
    tracing = tracing_of(settings, "deliver", parts.metrics)
    reports = Snapshots(
        EndpointReports(parts.admission, parts.health, parts.table, parts.reader, settings.partitions).make
    )
    loop = DeliveryLoop(
        reader=parts.reader,
        scheduler=_scheduler(parts, None if tracing is None else JobTraces(tracing.spans)),
        client=parts.client,
        outbox=parts.outbox,
        committer=parts.committer,
        table=parts.table,
        long_timeouts=parts.long_timeouts,
        housekeeping=_housekeeping(parts, reports),
        clocks=_CLOCKS,
        limits=ProcessLimits(settings.max_in_flight, milliseconds(settings.drain_timeout)),
    )
    clients = parts.clients
    return DeliveryRole(
        settings, parts.metrics, clients.admin, clients.transactions, loop, reports, parts.outcome_log, tracing
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Parts that several others use."""

    clients: _Clients
    delay_topics: DelayTopics
    table: SubscriptionTable[Endpoint]
    long_timeouts: LongTimeouts
    metrics: DeliveryMetrics
    outcome_log: OutcomeLog
    health: HealthTracker
    admission: AdmissionControl
    recorder: Recorder
    handler: ResultHandler
    outbox: Outbox
    committer: Committer
    reader: Reader
    client: HttpClient


def _parts(settings: Settings, instance: int | None) -> _Parts:
    names = settings.names
    senders = senders_of(settings)
    metrics = DeliveryMetrics(
        {name: tuple(sender.event_types) for name, sender in senders.items()}, settings.max_in_flight
    )
    outcome_log = outcome_log_of(settings)
    delay_topics = DelayTopics(names, delays_of(sender.schedule for sender in senders.values()), settings.delay_speedup)
    process_id = f"{instance if instance is not None else 'x'}-{secrets.token_hex(4)}"
    clients = _clients(settings, instance, process_id, delay_topics)
    policy = egress_policy_of(settings)
    long_timeouts = LongTimeouts(milliseconds(settings.drain_timeout))
    table = _table(settings, senders, policy, long_timeouts)
    health = HealthTracker(health_policy(settings))
    recorder = Recorder(names, delay_topics, settings.max_event + RECORD_OVERHEAD // 2)
    outbox = Outbox(process_id)
    committer = Committer(outbox, clients.transactions, max_uncommitted=settings.max_uncommitted, metrics=metrics)
    return _Parts(
        clients=clients,
        delay_topics=delay_topics,
        table=table,
        long_timeouts=long_timeouts,
        metrics=metrics,
        outcome_log=outcome_log,
        health=health,
        admission=AdmissionControl(admission_limits(settings), delay_topics.waits_ms[1:]),
        recorder=recorder,
        handler=ResultHandler(
            names=names,
            subscriptions=table,
            recorder=recorder,
            health=health,
            metrics=metrics,
            outcome_log=outcome_log,
            longest_delay_ms=delay_topics.waits_ms[-1],
        ),
        outbox=outbox,
        committer=committer,
        reader=Reader(
            consumer=clients.consumer,
            recovery=PartitionRecovery(clients.positions, clients.health),
            assignment=Assignment(delay_topics),
            outbox=outbox,
            committer=committer,
            clock=_CLOCKS.unix_ms,
        ),
        client=http_client_of(settings, policy),
    )


def _scheduler(parts: _Parts, traces: JobTraces | None) -> Scheduler:
    return Scheduler(
        subscriptions=parts.table,
        client=parts.client,
        outbox=parts.outbox,
        recorder=parts.recorder,
        handler=parts.handler,
        delay_topics=parts.delay_topics,
        admission=parts.admission,
        health=parts.health,
        metrics=parts.metrics,
        clock=_CLOCKS.unix_ms,
        monotonic_ms=_CLOCKS.monotonic_ms,
        traces=traces,
    )


def _housekeeping(parts: _Parts, reports: Snapshots[EndpointReport]) -> Housekeeping:
    return Housekeeping(
        reader=parts.reader,
        delay_topics=parts.delay_topics,
        outbox=parts.outbox,
        client=parts.client,
        table=parts.table,
        admission=parts.admission,
        health=parts.health,
        handler=parts.handler,
        reports=reports,
        outcome_log=parts.outcome_log,
        metrics=parts.metrics,
        waiting=WaitingRecords(parts.clients.lag_reader),
        monotonic_ms=_CLOCKS.monotonic_ms,
    )


@dataclass(frozen=True, slots=True)
class _Clients:
    """The Kafka clients of a delivery process."""

    admin: AdminClient
    consumer: Consumer
    positions: CommittedPositions
    health: CompactedPartition
    transactions: Transactions
    lag_reader: TopicReader


def _clients(settings: Settings, instance: int | None, process_id: str, delay_topics: DelayTopics) -> _Clients:
    kafka = settings.kafka_properties()
    names = settings.names
    group = delivery_group(names)
    logger = logging.getLogger("signpost.kafka")
    admin = AdminClient({**kafka}, logger=logger)
    positions = CommittedPositions(kafka, admin, group)
    transactional_id = f"{group}.{instance if instance is not None else process_id}"
    config = producer_config(kafka, transactional_id, settings.max_event + 2 * RECORD_OVERHEAD)
    written_topics = [names.outcomes, names.dead, names.health, names.operations]
    written_topics += [delay_topic.topic for delay_topic in delay_topics.all if delay_topic is not delay_topics.first]
    unused_position = TopicPartition(names.outcomes, 0, 0)  # no consumer starts from it
    transactions = Transactions(config, positions, Sweep(kafka, group, unused_position, written_topics))
    consumer = Consumer(consumer_config(kafka, group, instance), logger=logger)
    health = CompactedPartition(kafka, admin, names.health)
    lag_reader = TopicReader({**TUNING, **kafka}, admin, group)
    return _Clients(admin, consumer, positions, health, transactions, lag_reader)


def _table(
    settings: Settings, senders: Mapping[str, Sender], policy: EgressPolicy, long_timeouts: LongTimeouts
) -> SubscriptionTable[Endpoint]:
    names = settings.names
    endpoint_of = endpoints_of(senders, policy, sealer_of(settings), names.subscriptions, settings.delay_speedup)
    return SubscriptionTable(settings.kafka_properties(), names, endpoint_of, long_timeouts.on_change)

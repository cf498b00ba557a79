"""Puts a delivery process together: clients, table, transport, loop."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.delivery.admission import AdmissionControl, summarize
from consumers.delivery.assignment import Assignment
from consumers.delivery.committer import Committer
from consumers.delivery.dispatch import Dispatcher
from consumers.delivery.endpoint import Endpoint, endpoints_of
from consumers.delivery.forgetting import Forgetting
from consumers.delivery.health import HealthBook
from consumers.delivery.lane import Lane
from consumers.delivery.loop import Clocks, DeliveryLoop, Limits
from consumers.delivery.observer import COUNTED_EVERY_MS, EVERY_MS, Observer, tier_gauges
from consumers.delivery.outbox import Outbox
from consumers.delivery.outcome_log import OutcomeLog
from consumers.delivery.overview import Overview
from consumers.delivery.reader import Reader, Take
from consumers.delivery.recorder import Recorder
from consumers.delivery.sending import Sending
from consumers.delivery.takeover import Takeover
from consumers.delivery.tiers import Tiers
from consumers.delivery.transport import Transport
from consumers.runtime.compiled import is_compiled
from consumers.runtime.hanging import Sweep
from consumers.runtime.member import member_config
from consumers.runtime.metrics import DeliveryMetrics
from consumers.runtime.overtaken import Overtaken
from consumers.runtime.partition_state import PartitionState
from consumers.runtime.positions import CommittedPositions
from consumers.runtime.snapshots import Snapshots
from consumers.runtime.startup import await_topics
from consumers.runtime.status import Page
from consumers.runtime.topics import delivery_group
from consumers.runtime.transaction import Transactions, producer_config
from consumers.table import SubscriptionTable
from consumers.table_state import Interpret
from deploy.delivery_rules import admission_limits, health_policy, outcome_log_of
from deploy.endpoints_page import endpoints_page, overviews_of
from deploy.sealing_key import sealer_of
from deploy.senders import senders_of
from deploy.transport import transport_of
from deploy.wanted_topics import wanted_topics
from schemas.durations import milliseconds
from schemas.egress import EgressPolicy
from schemas.sender import Sender
from schemas.settings import Settings
from schemas.topics import RECORD_OVERHEAD, tiers_of

_log = structlog.get_logger("delivery")
_CLOCKS: Final = Clocks(lambda: time.time_ns() // 1_000_000, lambda: time.monotonic_ns() // 1_000_000)


def consumer_config(kafka: dict[str, str], group: str, slot: int | None) -> dict[str, Any]:
    """Return librdkafka's properties for the consumer of the tiers."""
    tuning = {
        # Bound what is read ahead, and with it most of the process's memory. The queue alone does not: one answer
        # brings up to this much, compressed, of each of its partitions, and all of it is unpacked at once.
        "queued.max.messages.kbytes": 512,
        "fetch.message.max.bytes": 128 * 1_024,
        # With the queue full the next fetch is tried after this; the default second would starve the loop.
        "fetch.queue.backoff.ms": 10,
        "topic.metadata.refresh.interval.ms": 30_000,
    }
    # Where a log ends is to be said though its last records are markers.
    return member_config(kafka, group, slot, tuning=tuning) | {"enable.partition.eof": True}


@dataclass(slots=True)
class Clients:
    """What a delivery process has of Kafka, and the records that wait for their transaction."""

    admin: AdminClient
    consumer: Consumer
    positions: CommittedPositions
    health: PartitionState
    transactions: Transactions
    outbox: Outbox


@dataclass(slots=True)
class DeliveryRole:
    """A delivery process, ready to run."""

    settings: Settings
    metrics: DeliveryMetrics
    clients: Clients
    reader: Reader
    transport: Transport
    table: SubscriptionTable[Endpoint]
    loop: DeliveryLoop
    admission: AdmissionControl
    health: HealthBook
    forgetting: Forgetting
    overviews: Snapshots[Overview]
    outcome_log: OutcomeLog
    starting: str | None = "the topics have not been checked yet"
    gauges_due_ms: int = 0
    counted_due_ms: int = 0

    @property
    def pages(self) -> Mapping[str, Page]:
        """What is served beside metrics and checks."""
        return {"/endpoints": partial(endpoints_page, self.overviews)}

    def why_not_ready(self) -> str | None:
        """Return why nothing is sent, None if it is."""
        return self.starting or self.loop.waiting

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Deliver until told to stop; True if everything that happened is committed."""
        admin, wanted, names = self.clients.admin, wanted_topics(self.settings), self.settings.names
        kafka = self.settings.kafka_properties()
        if not await_topics(kafka, admin, wanted, names, log=_log, waiting=self._waiting, stopping=stopping):
            return True
        if not self.clients.transactions.start(stopping):
            return True
        _log.info("delivery.started", address=address, prefix=self.settings.prefix, compiled=is_compiled())
        try:
            return self.loop.run(self.settings.names.jobs_pattern, stopping, self._each_turn)
        finally:
            self.outcome_log.flush()
            self.clients.transactions.close()

    def _waiting(self, reason: str | None) -> None:
        self.starting = reason
        self.metrics.waiting_for_broker(reason is not None)

    def _each_turn(self, now_ms: int) -> None:
        self.overviews.turn(now_ms)
        self.forgetting.turn(now_ms)
        if now_ms < self.gauges_due_ms:
            return
        self.gauges_due_ms = now_ms + EVERY_MS
        self.outcome_log.flush()
        self.metrics.in_flight(self.transport.in_flight, self.transport.resolving)
        self.metrics.uncommitted(self.clients.outbox.uncommitted)
        self.metrics.table(len(self.table), len(self.table.unusable()))
        self.metrics.waiting_for_broker(self.loop.waits_for_broker)
        if now_ms >= self.counted_due_ms:
            self.counted_due_ms = now_ms + COUNTED_EVERY_MS
            self.transport.tidy()
            self.metrics.disabled(self.health.disabled)
            summary = summarize(self.admission.endpoints)
            self.metrics.admission(summary.limited, summary.open_circuits, self.admission.bulkhead.slow)
            tier_gauges(self.clients.consumer, self.metrics, self.reader.lanes.values(), now_ms)


def build(settings: Settings, slot: int | None) -> DeliveryRole:
    """Make the parts of a delivery process and join them; nothing is asked of the broker yet."""
    kafka, names, senders = settings.kafka_properties(), settings.names, senders_of(settings)
    metrics = _metrics(settings, senders)
    outcome_log = outcome_log_of(settings)
    observer = Observer(metrics, outcome_log)
    tiers = Tiers(names, tiers_of(sender.schedule for sender in senders.values()), settings.delay_speedup)
    clients = _clients(settings, kafka, slot, tiers)
    policy = EgressPolicy(settings.allow_http, settings.allow_cidrs, frozenset(settings.allow_ports))
    table = _table(settings, kafka, endpoints_of(senders, policy, sealer_of(settings), names.subscriptions))
    transport = transport_of(settings, policy, lambda request: dispatcher.confirms(request))  # noqa: PLW0108  # as below
    book = HealthBook(health_policy(settings))
    admission = AdmissionControl(admission_limits(settings), tiers.waits_ms[1:])
    recorder = Recorder(names, tiers, clients.outbox, settings.max_event + RECORD_OVERHEAD // 2)
    dispatcher = Dispatcher(
        subscriptions=table,
        transport=transport,
        recorder=recorder,
        tiers=tiers,
        admission=admission,
        health=book,
        sending=Sending(settings.delay_speedup),
        observer=observer,
        is_fresh=lambda: table.is_fresh(_CLOCKS.monotonic_ms()),
        clock=_CLOCKS.unix_ms,
    )
    committer = _committer(settings, clients, observer)
    overtaken = _overtaken(metrics, recorder)
    reader = _reader(clients, tiers, dispatcher.take, committer=committer, health=book, overtaken=overtaken)
    loop = _loop(
        settings, clients, table, reader=reader, dispatcher=dispatcher, transport=transport, committer=committer
    )
    shown = Snapshots(overviews_of(settings, admission, book, table, reader).make)
    forgetting = _forgetting(book, table, tiers, reader, recorder)
    return DeliveryRole(
        settings, metrics, clients, reader, transport, table, loop, admission, book, forgetting, shown, outcome_log
    )


def _metrics(settings: Settings, senders: Mapping[str, Sender]) -> DeliveryMetrics:
    known = {name: tuple(sender.event_types) for name, sender in senders.items()}
    return DeliveryMetrics(known, settings.max_in_flight)


def _committer(settings: Settings, clients: Clients, observer: Observer) -> Committer:
    outbox, transactions = clients.outbox, clients.transactions
    return Committer(outbox, transactions, max_uncommitted=settings.max_uncommitted, observer=observer)


def _overtaken(metrics: DeliveryMetrics, recorder: Recorder) -> Callable[[Overtaken, Lane], None]:
    def overtaken(lost: Overtaken, lane: Lane) -> None:
        metrics.overtaken(lost.count)
        recorder.overtaken(lost, lane, _CLOCKS.unix_ms())

    return overtaken


def _reader(
    clients: Clients,
    tiers: Tiers,
    take: Take,
    *,
    committer: Committer,
    health: HealthBook,
    overtaken: Callable[[Overtaken, Lane], None],
) -> Reader:
    return Reader(
        consumer=clients.consumer,
        takeover=Takeover(clients.positions, clients.health),
        health=health,
        assignment=Assignment(tiers),
        outbox=clients.outbox,
        take=take,
        settle=lambda metadata: committer.settle(_CLOCKS.unix_ms, metadata),
        overtaken=overtaken,
    )


def _loop(
    settings: Settings,
    clients: Clients,
    table: SubscriptionTable[Endpoint],
    *,
    reader: Reader,
    dispatcher: Dispatcher,
    transport: Transport,
    committer: Committer,
) -> DeliveryLoop:
    return DeliveryLoop(
        reader=reader,
        dispatcher=dispatcher,
        transport=transport,
        outbox=clients.outbox,
        committer=committer,
        table=table,
        clocks=_CLOCKS,
        limits=Limits(settings.max_in_flight, milliseconds(settings.drain_timeout)),
    )


def _forgetting(
    book: HealthBook, table: SubscriptionTable[Endpoint], tiers: Tiers, reader: Reader, recorder: Recorder
) -> Forgetting:
    return Forgetting(
        book,
        table.has,
        lambda: table.is_fresh(_CLOCKS.monotonic_ms()),
        lambda number: reader.lanes.get((tiers.first.topic, number)),
        recorder.forget,
    )


def _table(settings: Settings, kafka: dict[str, str], interpret: Interpret[Endpoint]) -> SubscriptionTable[Endpoint]:
    return SubscriptionTable(kafka, settings.names, interpret, lambda _id, _entry: None)


def _clients(settings: Settings, kafka: dict[str, str], slot: int | None, tiers: Tiers) -> Clients:
    names, group = settings.names, delivery_group(settings.names)
    instance = f"{slot if slot is not None else 'x'}-{secrets.token_hex(4)}"
    logger = logging.getLogger("signpost.kafka")
    admin = AdminClient({**kafka}, logger=logger)
    positions = CommittedPositions(kafka, admin, group)
    transactional_id = f"{group}.{slot if slot is not None else instance}"
    max_record = settings.max_event + 2 * RECORD_OVERHEAD
    config = producer_config(kafka, transactional_id, max_record)
    written = [names.outcomes, names.dead, names.health, names.operations]
    written += [tier.topic for tier in tiers.all if tier is not tiers.first]
    place = TopicPartition(names.outcomes, 0, 0)  # a position that nobody reads from
    transactions = Transactions(config, positions, Sweep(kafka, group, place, written))
    consumer = Consumer(consumer_config(kafka, group, slot), logger=logger)
    health = PartitionState(kafka, admin, names.health)
    return Clients(admin, consumer, positions, health, transactions, Outbox(instance))

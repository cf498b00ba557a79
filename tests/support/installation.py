"""An installation for one test: topics, subscriptions, events, and the records that the roles write."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from consumers.kafka import topics
from consumers.subscriptions.table import SubscriptionTable
from deploy.roles.router import RouterRole, build
from schemas.events.event import Event
from schemas.records.delivery import DeadLetter, DeadLetterCodec, Job, JobCodec
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST
from schemas.senders.event_codec import encode_event
from schemas.senders.sender import load_senders
from schemas.settings.settings import Settings
from schemas.subscriptions.subscription import Subscription, encode_subscription
from tests.support.sources import topics_and_sources, zenoo_alone
from tests.support.topics import admin_of, end_offsets, read_topic
from tests.support.waiting import HANGS_S, wait_until

ZENOO = load_senders()["zenoo"]
DATA = {
    "case_token": "cas_1",
    "type": "Onboarding",
    "status": "New",
    "priority": "Medium",
    "entity_token": "ent_1",
    "entity_name": "Acme Ltd",
    "due_date": "2026-03-02T10:00:00Z",
}


def subscription(
    id_: str, customer_id: str = "acme", event_types: Sequence[str] = ("*",), **fields: Any
) -> Subscription:
    """Return a subscription; `fields` replace the defaults of a new one."""
    given = {
        "sender": "zenoo",
        "url": "https://example.com/hook",
        "secrets": (),
        "paused": False,
        "activation": 0,
        "set": None,
        "description": "",
        "created_at_ms": 0,
        "updated_at_ms": 0,
        "request_id": "test",
    } | fields
    return Subscription(id=id_, customer_id=customer_id, event_types=tuple(event_types), **given)


def event(event_id: str, customer_id: str = "acme") -> Event:
    """Return an event of type case.created."""
    return Event(event_id, "case.created", 1_771_236_060_000_000, customer_id, DATA)


def value_of(one: Event) -> bytes:
    """Return an event as the value of a record."""
    return encode_event(ZENOO, one)


class Installation:
    """Topics with their own prefix; `settings` as in schemas/settings/settings.py."""

    def __init__(self, bootstrap_servers: str, prefix: str, **settings: Any) -> None:
        self.bootstrap_servers = bootstrap_servers
        given = {"prefix": prefix, "partitions": 3, "replication": 1, "start_at": "earliest"}
        given |= {"sources": zenoo_alone(prefix)} | settings
        self.settings = Settings(kafka={"bootstrap.servers": bootstrap_servers}, **given)
        self.names = self.settings.names
        self.events_topic = self.names.events("zenoo")
        self.env = {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers} | {
            f"SIGNPOST_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in given.items()
        }
        self.admin: AdminClient = admin_of(bootstrap_servers)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": 8_000_000,
                "log_level": 0,
            }
        )

    def make_topics(self) -> Installation:
        """Create missing topics."""
        topics.apply(self.settings.kafka_properties(), self.admin, topics_and_sources(self.settings), self.names)
        return self

    def subscribe(self, *subscriptions: Subscription) -> None:
        """Write subscription records unchanged: without checks and without sealing."""
        for one in subscriptions:
            partition = partition_of(one.customer_id, self.settings.partitions)
            self._producer.produce(self.names.subscriptions, encode_subscription(one), one.id, partition)
            self._producer.poll(0)
        self._flush()

    def write_subscription(self, id_: str, value: bytes | None, customer_id: str) -> None:
        """Write any value (None: a tombstone) to the partition of the customer's subscriptions."""
        partition = partition_of(customer_id, self.settings.partitions)
        self.produce(self.names.subscriptions, value, id_.encode(), partition=partition)

    def publish(self, events: Iterable[Event]) -> None:
        """Publish Zenoo events, spread over all partitions."""
        for one in events:
            self._producer.produce(self.events_topic, encode_event(ZENOO, one), one.event_id)
            self._producer.poll(0)
        self._flush()

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int = -1,
        headers: list[tuple[str, str | bytes | None]] | None = None,
    ) -> None:
        """Write one record and wait until the broker has it."""
        self._producer.produce(topic, value, key, partition, headers=headers)  # type: ignore[arg-type]  # None is fine
        self._flush()

    def _flush(self) -> None:
        assert self._producer.flush(30) == 0, "the broker did not accept the records"

    def delete_events(self, before: int) -> None:
        """Delete the records of partition 0 below an offset, as retention does."""
        (future,) = self.admin.delete_records([TopicPartition(self.events_topic, 0, before)]).values()
        future.result(30)

    def jobs(self) -> list[Job]:
        """Return all jobs, by partition and offset."""
        codec = JobCodec()
        return [codec.decode(message.value()) for message in self.job_records()]

    def job_records(self) -> list[Message]:
        """Return the records of all jobs."""
        return read_topic(self.bootstrap_servers, self.names.jobs(FIRST))

    def dead(self) -> list[DeadLetter]:
        """Return all dead letters."""
        codec = DeadLetterCodec()
        return [codec.decode(message.value()) for message in read_topic(self.bootstrap_servers, self.names.dead)]

    def positions(self, topic: str | None = None) -> dict[int, int]:
        """Return the committed positions of the router."""
        group = f"{self.settings.prefix}router"
        asked = [
            TopicPartition(topic or self.events_topic, n)
            for n in end_offsets(self.bootstrap_servers, topic or self.events_topic)
        ]
        future = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group]
        return {p.partition: p.offset for p in future.result(30).topic_partitions if p.offset >= 0}

    def commit(self, positions: Mapping[int, int]) -> None:
        """Set positions of the router's group; no router may run."""
        group = f"{self.settings.prefix}router"
        offsets = [TopicPartition(self.events_topic, number, offset) for number, offset in positions.items()]
        self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])[group].result(30)

    def wait_routed(self, deadline_s: float = HANGS_S) -> None:
        """Wait until the router has committed all events."""

        def is_routed() -> bool:
            ends = end_offsets(self.bootstrap_servers, self.events_topic)
            positions = self.positions()
            assert positions == ends, f"at {positions}, the ends are {ends}"
            return True

        wait_until(is_routed, deadline_s, "all events are routed")

    @contextmanager
    def router(self, settings: Mapping[str, Any] | None = None, instance: int | None = None) -> Iterator[RunningRouter]:
        """Run a router in a thread; at the end stop it and raise its error, if any."""
        running = RunningRouter(build(self.settings.model_copy(update=dict(settings or {})), instance))
        try:
            yield running
        finally:
            running.stop()
        running.raise_error()


class RunningRouter:
    """A router in a thread of this process."""

    def __init__(self, role: RouterRole) -> None:
        self.role = role
        self.error: BaseException | None = None
        self.drained: bool | None = None  # result of `run`
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.drained = self.role.run(self._stopping.is_set, "")
        except BaseException as error:  # raised again in the thread of the test
            self.error = error

    def wait_ready(self) -> RunningRouter:
        """Wait until it is ready."""
        wait_until(self._ready, what="the router is ready")
        return self

    def _ready(self) -> bool:
        self.raise_error()
        reason = self.role.why_not_ready()
        assert reason is None, reason
        return True

    def wait_knows(self, id_: str, known: bool = True) -> None:
        """Wait until a subscription is in its table, or with `known=False` until it is not."""
        wait_until(lambda: (self.role.table._subscriptions.get(id_) is not None) == known, what=f"{id_} known: {known}")

    def wait_not_ready(self, part: str) -> str:
        """Wait until the reason of /readyz contains `part`; return the reason."""

        def found() -> str:
            self.raise_error()
            reason = self.role.why_not_ready() or ""
            assert part in reason, reason
            return reason

        return wait_until(found, what=f"not ready: {part}")

    def wait_ended(self, deadline_s: float = HANGS_S) -> BaseException | None:
        """Wait until it ends by itself; return its error."""
        self._thread.join(deadline_s)
        assert not self._thread.is_alive(), "the router did not end"
        error, self.error = self.error, None
        return error

    def stop(self) -> None:
        """Stop it and wait for its end."""
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the router did not end"

    def raise_error(self) -> None:
        """Raise its error, if any."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def metric(self, name: str, **labels: str) -> float:
        """Return the value of one of its metrics."""
        return self.role.metrics.registry.get_sample_value(name, labels) or 0.0


def alter(here: Installation, topic: str, name: str, value: str) -> None:
    """Change one configuration entry of a topic."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    here.admin.incremental_alter_configs([resource])[resource].result(30)


class Stale:
    """A table that is never fresh, as if the broker did not respond."""

    def __init__(self, table: SubscriptionTable[Subscription]) -> None:
        self._table = table
        self.current = True

    def is_fresh(self, now_ms: int) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._table)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

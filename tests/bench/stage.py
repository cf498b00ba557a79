"""The environment of a benchmark: its own topics, many subscriptions, jobs or events, and roles."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from confluent_kafka import Producer

from deploy.config.sealing_key import sealer_of
from schemas.events.event import Event
from schemas.records.delivery import JobCodec
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST
from schemas.senders.event_codec import encode_event
from schemas.subscriptions.subscription import SealedSecret, encode_subscription
from tests.bench.sink import Sink
from tests.support.compiled import environment
from tests.support.first_jobs import first_job
from tests.support.installation import subscription
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.topics import remove_topics

PARTITIONS: Final = 12
EVENT_TYPE: Final = "case.created"
_CREATED_US: Final = 1_771_236_060_000_000


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription and the position of its record."""

    id: str
    customer: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What all benchmarks of a run share; `scale` is the factor for their sizes."""

    bootstrap_servers: str
    sink: Sink
    scale: float

    def scaled(self, size: int, least: int = 1_000) -> int:
        """Return a size multiplied by the scale, but at least `least`."""
        return max(min(least, size), int(size * self.scale))

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """Yield a stage with its own topics; at the end kill its roles and delete its topics."""
        prefix = f"bench-{uuid4().hex[:8]}."
        with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
            try:
                with RoleStarter.into(Path(folder)) as start:
                    yield Stage(self, prefix, start)
            finally:
                remove_topics(self.bootstrap_servers, prefix)


class Stage(Pipeline):
    """A pipeline that writes many records quickly."""

    def __init__(self, bench: Bench, prefix: str, start_role: RoleStarter) -> None:
        super().__init__(bench.bootstrap_servers, prefix, start_role, partitions=PARTITIONS)
        self.bench = bench
        self._template = self.sender.render(event(0, "customer")).replace(b"cas_00000000", b"cas_%08d")
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
                "log_level": 0,
            }
        )

    def start(self, role: str, *args: str, ready: bool = True, **more: Any) -> Any:
        """Start a role that logs warnings only, as a log line per delivery would be measured, too."""
        return super().start(role, *args, ready=ready, **({"log_level": "warning"} | more))

    def start_in(self, packages: Path, command: Sequence[str]) -> Role:
        """Start `signpost <command>` with the packages of a folder, which may be those of another commit."""
        return self._start_role(command, self.env(log_level="warning") | environment(packages))

    def subscribed(
        self, customers: int, each: int = 1, url: str | None = None, sender: str = "zenoo"
    ) -> list[Subscribed]:
        """Write `each` subscriptions to all event types for each customer; `url` contains `{}` for the number."""
        url = url or self.bench.sink.url + "/h{}"
        sealer = sealer_of(self.settings)
        topic = self.names.subscriptions
        ends = Counter[int]()
        made = []
        for number in range(customers * each):
            id_ = str(UUID(int=number, version=4)) if sender == "diligent" else f"sub-{number:06}"
            customer = f"customer-{number // each}"
            partition = partition_of(customer, PARTITIONS)
            sealed = sealer.seal(SECRET, topic=topic, subscription_id=id_, secret_id="1")
            one = subscription(
                id_,
                customer,
                sender=sender,
                url=url.format(number),
                secrets=(SealedSecret("1", sealed, 0),),
                activation=1,
                request_id="bench",
            )
            self._produce(topic, encode_subscription(one), id_, partition)
            made.append(Subscribed(id_, customer, partition, ends[partition]))
            ends[partition] += 1
        self._producer.flush()
        return made

    def jobs_for(self, subscribed: list[Subscribed], count: int, start: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield keys and values of jobs with bodies of about 320 bytes, for each subscription in turn."""
        codec = JobCodec()
        topic = self.events_topic
        template = self._template
        for number in range(start, start + count):
            one = subscribed[number % len(subscribed)]
            _, value = first_job(
                codec,
                one,
                topic,
                number,
                sender=self.sender.name,
                event_type=EVENT_TYPE,
                event_id=f"evt_{number:08}",
                customer_id=one.customer,
                appended_at_ms=_CREATED_US // 1_000,
                body=template % number,
            )
            yield one.id, value

    def bodies_for(self, subscribed: list[Subscribed], count: int) -> Iterator[tuple[str, bytes]]:
        """Yield keys and bodies of the same jobs, for programs that cannot decode jobs."""
        for number in range(count):
            yield subscribed[number % len(subscribed)].id, self._template % number

    def fill(self, jobs: Iterable[tuple[str, bytes]], topic: str | None = None) -> None:
        """Write jobs to jobs.0s, or records to another topic; returns when the broker has acknowledged them."""
        topic = topic or self.names.jobs(FIRST)
        for key, value in jobs:
            self._produce(topic, value, key)
        self._producer.flush()

    def fill_events(self, customers: int, count: int, start: int = 0) -> None:
        """Publish events, for each customer in turn; returns when the broker has acknowledged them."""
        for number in range(start, start + count):
            one = event(number, f"customer-{number % customers}")
            self._produce(self.events_topic, encode_event(self.sender, one), one.event_id)
        self._producer.flush()

    def _produce(self, topic: str, value: bytes, key: str, partition: int = -1) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition)
                return
            except BufferError:
                self._producer.poll(0.05)


def event(number: int, customer: str) -> Event:
    """Return an event with a body of about 320 bytes."""
    data = {
        "case_token": f"cas_{number:08}",
        "type": "Onboarding",
        "status": "New",
        "priority": "Medium",
        "entity_token": "ent_5f0c1d7e",
        "entity_name": "Acme Holdings Ltd",
        "due_date": "2026-03-02T10:00:00Z",
    }
    return Event(f"evt_{number:08}", EVENT_TYPE, _CREATED_US, customer, data)

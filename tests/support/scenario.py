"""Scenarios: healthy endpoints beside ones that misbehave, on one delivery process; what it came to, as a table.

Jobs are written as the router writes them, at an even rate or all at once, so that no more than delivery runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Producer

from deploy.sealing_key import sealer_of
from schemas.codec import Record
from schemas.delivery import JobCodec
from schemas.partitioner import partition_of
from schemas.subscription import SealedSecret, Subscription, encode_subscription
from schemas.topics import FIRST
from tests.support.first_jobs import first_job
from tests.support.pipeline import SECRET, Pipeline, ends_of
from tests.support.players import Players
from tests.support.roles import Role
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

EVENT_TYPE: Final = "case.created"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscription, and where its record is."""

    id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Row:
    """What a scenario came to."""

    scenario: str
    events: int
    faulty: int
    lost: int
    repeated: int
    p99_with_ms: float
    p99_without_ms: float
    rewrites: float

    def __str__(self) -> str:
        """As a row of the table."""
        return (
            f"| {self.scenario} | {self.events:,} | {self.faulty:,} | {self.lost} | {self.repeated} "
            f"| {self.p99_without_ms:.0f} ms | {self.p99_with_ms:.0f} ms | {self.rewrites:.1f} |"
        )


HEAD: Final = """
| scenario | events | of them to faulty ones | lost | repeated | healthy p99 without | with | rewritten, a job |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


class Scenario:
    """A delivery process, endpoints, and jobs for them."""

    def __init__(self, pipeline: Pipeline, players: Players, **settings: Any) -> None:
        self.pipeline = pipeline
        self.players = players
        self._codec = JobCodec()
        self._number = 0
        self._wanted: set[str] = set()
        self._pause = threading.Event()
        self._producer = Producer(
            {"bootstrap.servers": pipeline.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 2}
        )
        self.role: Role = pipeline.deliver(log_level="warning", **settings)

    def endpoints(self, name: str, count: int, **fields: object) -> list[Endpoint]:
        """Write subscriptions whose requests go to `/<name>/<number>`; `fields` are those of their records.

        `url` is what is before that, with `{}` for the number; without it they are spread over hosts.
        """
        url = fields.pop("url", None)
        topic, sealer = self.pipeline.names.subscriptions, sealer_of(self.pipeline.settings)
        ends, made = end_offsets(self.pipeline.bootstrap_servers, topic), []
        offsets = dict(ends)
        for number in range(count):
            id_, customer = f"{name}-{number}", f"{name}-{number // 10}"
            root = str(url).format(number) if url else self.players.url_of(number)
            partition = partition_of(customer, len(offsets))
            sealed = sealer.seal(SECRET, topic=topic, subscription_id=id_, secret_id="1")
            one = _subscription(id_, customer, f"{root}{name}/{number}", sealed, fields)
            self._producer.produce(topic, encode_subscription(one), id_, partition)
            made.append(Endpoint(id_, partition, offsets[partition]))
            offsets[partition] += 1
        self._producer.flush()
        return made

    def send(self, endpoints: Sequence[Endpoint], jobs: int, per_second: float = 0) -> list[str]:
        """Write jobs for endpoints in turn, evenly over time (0: all at once); return their ids."""
        began, ids = time.monotonic(), []
        for number, (key, value, id_) in enumerate(self._jobs(endpoints, jobs)):
            if per_second and (ahead_s := began + number / per_second - time.monotonic()) > 0:
                self._producer.poll(0)
                self._pause.wait(ahead_s)
            self._producer.produce(self.pipeline.names.jobs(FIRST), value, key)
            ids.append(id_)
            if number % 1_000 == 0:
                self._producer.poll(0)
        self._producer.flush()
        return ids

    def beside(self, healthy: Sequence[Endpoint], jobs: int, per_second: float) -> tuple[threading.Thread, list[str]]:
        """Send jobs to healthy endpoints in a thread of its own, while faults happen."""
        ids: list[str] = []
        thread = threading.Thread(target=lambda: ids.extend(self.send(healthy, jobs, per_second)))
        thread.start()
        return thread, ids

    def ended(self, ids: Sequence[str], deadline_s: float) -> list[Record]:
        """Wait until these jobs have come to an end, and return all their outcomes."""
        wanted = set(ids)
        self._wanted |= wanted

        def ended() -> list[Record]:
            ended = self.role.metric("signpost_delivery_attempts_total", result="delivered")
            assert ended >= len(self._wanted), f"{ended:.0f} of {len(self._wanted)} jobs have ended"
            found = [outcome for outcome in self.pipeline.outcomes() if outcome["job_id"] in wanted]
            ends = len(ends_of(found))
            assert ends == len(wanted), f"{ends} of {len(wanted)} jobs have ended"
            return found

        return wait_until(ended, deadline_s, "all jobs have ended")

    def parked(self) -> float:
        """How often jobs were parked so far."""
        return self.role.metric("signpost_delivery_parked_total")

    def _jobs(self, endpoints: Sequence[Endpoint], jobs: int) -> Iterator[tuple[str, bytes, str]]:
        topic = self.pipeline.events_topic
        for turn in range(jobs):
            number, one = self._number, endpoints[turn % len(endpoints)]
            self._number += 1
            id_, value = first_job(
                self._codec,
                one,
                topic,
                number,
                sender=self.pipeline.sender.name,
                event_type=EVENT_TYPE,
                event_id=f"evt_{number}",
                customer_id="acme",
                appended_at_ms=time.time_ns() // 1_000_000,
                body=b'{"event_id":"evt_%d","filler":"%s"}' % (number, b"x" * 250),
            )
            yield one.id, value, id_


def p99_ms(outcomes: Sequence[Record]) -> float:
    """Return the 99th percentile from the append to the start of the first attempt."""
    waits = sorted(one["at_ms"] - one["appended_at_ms"] for one in outcomes if one["attempt"] == 1)
    return float(waits[int(len(waits) * 0.99)]) if waits else 0.0


def _subscription(id_: str, customer: str, url: str, sealed: bytes, fields: dict[str, object]) -> Subscription:
    values: dict[str, object] = {
        "sender": "zenoo",
        "event_types": ("*",),
        "secrets": (SealedSecret("1", sealed, 0),),
        "paused": False,
        "activation": 1,
        "set": None,
        "description": "",
        "created_at_ms": 0,
        "updated_at_ms": 0,
        "request_id": "scenario",
    }
    return Subscription(id=id_, customer_id=customer, url=url, **(values | fields))  # type: ignore[arg-type]  # as the record has them

"""Scenarios: healthy and misbehaving endpoints on one delivery process.

Tests write jobs as the router writes them, at an even rate or all at once, so that only delivery runs. The number of
its event identifies a job; a range of numbers identifies a batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Producer

from deploy.config.sealing_key import sealer_of
from schemas.records.delivery import JobCodec
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST
from schemas.subscriptions.subscription import SealedSecret, Subscription, encode_subscription
from tests.support.ends import Ends
from tests.support.first_jobs import first_job
from tests.support.pipeline import SECRET, Pipeline
from tests.support.players import Players
from tests.support.roles import Role
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

EVENT_TYPE: Final = "case.created"
_FILLER: Final = b"x" * 250


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A subscription and the position of its record."""

    id: str
    partition: int
    offset: int


class Scenario:
    """A delivery process, endpoints and their jobs."""

    def __init__(self, pipeline: Pipeline, players: Players, **settings: Any) -> None:
        self.pipeline = pipeline
        self.players = players
        self.sealer = sealer_of(pipeline.settings)
        self.role: Role = pipeline.deliver(log_level="warning", **settings)
        self.ends = Ends(pipeline)
        self._codec = JobCodec()
        self._next = 0
        self._pause = threading.Event()
        # Two producers, so that jobs at an even rate do not queue behind a burst.
        self._even = _producer(pipeline.bootstrap_servers)
        self._at_once = _producer(pipeline.bootstrap_servers)

    def endpoints(self, name: str, count: int, url: str | None = None, **fields: Any) -> list[Endpoint]:
        """Write subscriptions with the paths `/<name>/<number>`; `fields` are fields of their records.

        `url` is the part before the path, with `{}` for the number; without it, endpoints are spread over hosts.
        """
        roots = (url.format(number) if url else self.players.url_of(number) for number in range(count))
        return self.subscribe(name, [f"{root}{name}/{number}" for number, root in enumerate(roots)], **fields)

    def subscribe(
        self,
        name: str,
        urls: Sequence[str],
        *,
        each: Callable[[str, int], dict[str, object]] = lambda _id, _number: {},
        **fields: Any,
    ) -> list[Endpoint]:
        """Write or replace the subscription `<name>-<number>` for each URL; `each` returns further fields."""
        topic = self.pipeline.names.subscriptions
        offsets = dict(end_offsets(self.pipeline.bootstrap_servers, topic))
        made = []
        for number, url in enumerate(urls):
            id_, customer = f"{name}-{number}", f"{name}-{number // 10}"
            partition = partition_of(customer, len(offsets))
            sealed = self.sealer.seal(SECRET, topic=topic, subscription_id=id_, secret_id="1")
            one = _subscription(id_, customer, url, sealed, fields | each(id_, number))
            self._even.produce(topic, encode_subscription(one), id_, partition)
            made.append(Endpoint(id_, partition, offsets[partition]))
            offsets[partition] += 1
        self._even.flush()
        return made

    def send(self, endpoints: Sequence[Endpoint], jobs: int, per_second: float = 0) -> range:
        """Write jobs for endpoints in turn, at an even rate (0: all at once); return their numbers."""
        batch = range(self._next, self._next + jobs)
        self._next += jobs
        self._send(batch, endpoints, per_second)
        return batch

    def send_in_thread(
        self, endpoints: Sequence[Endpoint], jobs: int, per_second: float
    ) -> tuple[threading.Thread, range]:
        """Do the same in a thread; return the thread and the numbers."""
        batch = range(self._next, self._next + jobs)
        self._next += jobs
        thread = threading.Thread(target=self._send, args=(batch, endpoints, per_second))
        thread.start()
        return thread, batch

    def ended(self, batch: range, deadline_s: float) -> None:
        """Wait until these jobs have ended."""

        def ended() -> bool:
            self.ends.look()
            missing = self.ends.missing(batch)
            assert not missing, f"{missing} of {len(batch)} jobs have not ended"
            return True

        wait_until(ended, deadline_s, "all jobs have ended")

    def deferred(self) -> float:
        """Return how often jobs were deferred."""
        return self.role.metric("signpost_delivery_deferred_total")

    def _send(self, batch: range, endpoints: Sequence[Endpoint], per_second: float) -> None:
        producer = self._even if per_second else self._at_once
        topic = self.pipeline.names.jobs(FIRST)
        began = time.monotonic()
        for turn, number in enumerate(batch):
            if per_second and (ahead_s := began + turn / per_second - time.monotonic()) > 0:
                producer.poll(0)
                self._pause.wait(ahead_s)
            one = endpoints[turn % len(endpoints)]
            while True:
                try:
                    producer.produce(topic, self._job(one, number), one.id)
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.flush()

    def _job(self, one: Endpoint, number: int) -> bytes:
        _, value = first_job(
            self._codec,
            one,
            self.pipeline.events_topic,
            number,
            sender=self.pipeline.sender.name,
            event_type=EVENT_TYPE,
            event_id=f"evt_{number}",
            customer_id="acme",
            appended_at_ms=time.time_ns() // 1_000_000,
            body=b'{"event_id":"evt_%d","filler":"%s"}' % (number, _FILLER),
        )
        return value


def _producer(bootstrap_servers: str) -> Producer:
    return Producer(
        {"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 2, "log_level": 0}
    )


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
    return Subscription(id=id_, customer_id=customer, url=url, **(values | fields))  # type: ignore[arg-type]  # the fields of the record

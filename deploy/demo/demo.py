"""The main job, shown: simulated events of all senders, for endpoints that work, fail twice, or fail always.

Everything is real: a broker, both roles as processes, HTTP endpoints that verify signatures. What is shown is counted
at both ends, by the endpoints and by the topic of outcomes, and has to agree.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from typing import Final, TypeAlias

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from deploy.config.admin import reachable_admin
from deploy.config.sealing_key import sealer_of
from deploy.config.wanted_topics import wanted_topics
from deploy.demo.simulator import Simulator
from deploy.demo.tally import Customer, Progress
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Received, Response
from producers.events.publisher import EventPublisher, wall_clock_us
from producers.subscriptions.changes import Apply
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import InvalidInput, SettingsError
from schemas.events.event import Event
from schemas.network.egress import EgressPolicy
from schemas.records.delivery import JobCodec, OutcomeCodec
from schemas.records.topics import FIRST
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Draft, Given

Say: TypeAlias = Callable[[str], None]
SPEEDUP: Final = 20_000  # the 26 h 36 min of the shortest schedule take 4.8 s
# Settings of the demo alone. A user's own must not lead it to topics that are in use, nor to senders that it does not
# show; four partitions are made faster than twelve.
SETTINGS: Final[Mapping[str, object]] = {
    "delay_speedup": SPEEDUP,
    "partitions": 4,
    "senders": [],
    "sources": [],
    "start_at": "now",
}
_LOOK_S: Final = 0.1
_OK: Final = 200


def check_egress(settings: Settings) -> None:
    """SettingsError where the settings keep the demo from endpoints on this machine."""
    policy = EgressPolicy(settings.allow_http, settings.allow_cidrs, frozenset(settings.allow_ports))
    try:
        policy.check_url("http://127.0.0.1:50000/webhooks")
    except InvalidInput as error:
        raise SettingsError(
            f"the demo's endpoints are on this machine, and the settings do not allow them: {error}; run it without "
            "allow_http, allow_cidrs and allow_ports, and it sets them for itself"
        ) from error


class Endpoints:
    """One receiver a customer; counts in the receivers' threads, one tally each."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._receivers: list[Receiver] = []

    def drafts(self) -> Iterator[Draft]:
        """Open the endpoints and yield a subscription to each."""
        for customer in self._progress.customers:
            secret = customer.sender.generate_secret()
            yield Draft(
                id=f"demo-{customer.id}",
                sender=customer.sender.name,
                customer_id=customer.id,
                url=self._open(customer, secret),
                event_types=("*",),
                secret=Given(secret),
                description=f"demo: {customer.endpoint}",
            )

    def close(self) -> None:
        """Close all endpoints."""
        for receiver in self._receivers:
            receiver.close()

    def _open(self, customer: Customer, secret: str) -> str:
        tally, accepted = self._progress.tallies[customer.id], set[str | None]()

        def verify(received: Received) -> str | None:
            headers, now_s = dict(received.headers), int(received.arrived_at)
            problem = customer.sender.verify(headers, received.body, secret, now_s)
            tally.genuine += problem is None
            tally.refused += problem is not None
            return problem

        def delivered(received: Received, reply: object) -> None:
            if isinstance(reply, Response) and reply.status == _OK and received.problem is None:
                tally.repeated += received.event_id in accepted
                accepted.add(received.event_id)
                tally.accepted = len(accepted)

        receiver = Receiver(customer.behave, verify=verify, on_delivery=delivered, keep=False)
        self._receivers.append(receiver)
        return f"{receiver.url}webhooks"


class Records:
    """Follows the topics of new jobs and of outcomes from their beginning."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._progress = progress
        self._jobs = settings.names.jobs(FIRST)
        self._decode_job = JobCodec().decode
        self._decode_outcome = OutcomeCodec().decode
        config = {
            "group.id": f"{settings.prefix}demo",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        logger = logging.getLogger("signpost.kafka")
        self._consumer = Consumer({"fetch.wait.max.ms": 50, **settings.kafka_properties(), **config}, logger=logger)
        topics = (self._jobs, settings.names.outcomes)
        self._consumer.assign(
            [TopicPartition(topic, n, OFFSET_BEGINNING) for topic in topics for n in range(settings.partitions)]
        )

    def take(self, timeout_s: float) -> None:
        """Count what has arrived, waiting up to `timeout_s` for it."""
        for message in self._consumer.consume(1_000, timeout_s):
            if message.error() is not None:
                continue
            if message.topic() == self._jobs:
                tally = self._progress.tallies.get(self._decode_job(message.value()).customer_id)
                if tally is not None:
                    tally.jobs += 1
            else:
                self._count(self._decode_outcome(message.value()))

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _count(self, outcome: Mapping[str, object]) -> None:
        tally = self._progress.tallies.get(str(outcome["customer_id"]))
        if tally is None:
            return
        tally.attempts += 1
        tally.retried += outcome["attempt"] == 1 and outcome["state"] == "retry"
        tally.dead += outcome["state"] == "dead"
        if outcome["state"] == "delivered":
            tally.delivered += 1
            at_ms, took_us, since_ms = (int(str(outcome[name])) for name in ("at_ms", "duration_us", "appended_at_ms"))
            tally.latencies_ms.append(at_ms + took_us / 1_000 - since_ms)
            self._progress.last_ms = max(self._progress.last_ms, at_ms + took_us // 1_000)


@contextmanager
def prepared(settings: Settings, progress: Progress) -> Iterator[Records]:
    """Open the endpoints, write the subscriptions and follow the records."""
    with ExitStack() as stack:
        endpoints = Endpoints(progress)
        stack.callback(endpoints.close)
        writer = SubscriptionWriter(settings.kafka_properties(), settings.names, progress.senders, sealer_of(settings))
        stack.callback(writer.close)
        writer.write([Apply(draft) for draft in endpoints.drafts()])
        records = Records(settings, progress)
        stack.callback(records.close)
        yield records


def publish(settings: Settings, progress: Progress, records: Records, *, events: int, rate: float, go_on: Say) -> None:
    """Publish simulated events, as many of each customer, at a steady rate, counting records meanwhile.

    `go_on` is called again and again.
    """
    with ExitStack() as stack:
        publishers: dict[str, EventPublisher] = {}
        for name, sender in progress.senders.items():
            publisher = EventPublisher(settings.kafka_properties(), sender=sender, topic=settings.names.events(name))
            publishers[name] = stack.enter_context(publisher)
        simulated = {customer.id: _events_of(customer) for customer in progress.customers}
        began = time.monotonic()
        progress.first_ms = wall_clock_us() // 1_000
        for number, customer in zip(range(events), cycle(progress.customers), strict=False):
            while number > (time.monotonic() - began) * rate:
                records.take(0.01)
                go_on("publishing")
            publishers[customer.sender.name].publish(next(simulated[customer.id]))
            progress.tallies[customer.id].events += 1


def _events_of(customer: Customer) -> Iterator[Event]:
    return Simulator(secrets.randbits(32), [customer.id], wall_clock_us, customer.sender).events()


def finish(progress: Progress, records: Records, *, within_s: float, go_on: Say) -> None:
    """Count records until every job has come to its end, or the time is over."""
    deadline = time.monotonic() + within_s
    while progress.waiting and time.monotonic() < deadline:
        records.take(_LOOK_S)
        go_on("all published; waiting for retries")
    records.take(_LOOK_S)


def remove_topics(settings: Settings) -> None:
    """Remove the demo's topics from a broker that stays."""
    admin = reachable_admin(settings)
    for future in admin.delete_topics([topic.name for topic in wanted_topics(settings)]).values():
        with suppress(KafkaException):  # not there, or not ours to delete: it was only a demo
            future.result(30)

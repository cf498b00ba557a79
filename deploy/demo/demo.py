"""The demo: simulated events of all senders, for endpoints that work, fail twice, or always fail.

Everything is real: a broker, both roles as processes, HTTP endpoints that verify signatures. Deliveries are counted at
both ends, by the endpoints and from the topic of outcomes. The counts must agree.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from typing import Final, TypeAlias

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from consumers.kafka.admin import TIMEOUT_S, result
from deploy.config.admin import reachable_admin
from deploy.config.author import command_author
from deploy.config.egress import egress_policy_of
from deploy.config.sealing_key import sealer_of
from deploy.config.wanted_topics import wanted_topics
from deploy.demo.simulator import Simulator
from deploy.demo.tally import Customer, DemoProgress
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Received
from producers.events.publisher import EventPublisher, wall_clock_us
from producers.subscriptions.changes import Apply
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import InvalidInput, SettingsError, Unavailable
from schemas.events.event import Event
from schemas.records.delivery import JobCodec, OutcomeCodec
from schemas.records.topics import FIRST
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Draft, Given

OnPhase: TypeAlias = Callable[[str], None]
SPEEDUP: Final = 20_000  # the 26 h 36 min of the shortest schedule take 4.8 s
# Settings of the demo. The user's settings must not lead it to topics in use or to senders that it does not show. Four
# partitions are created faster than twelve.
SETTINGS: Final[Mapping[str, object]] = {
    "delay_speedup": SPEEDUP,
    "partitions": 4,
    "senders": [],
    "sources": [],
    "start_at": "now",
}
_POLL_S: Final = 0.1
_OK: Final = 200


def check_egress(settings: Settings) -> None:
    """SettingsError if the settings forbid endpoints on this machine."""
    policy = egress_policy_of(settings)
    try:
        policy.check_url("http://127.0.0.1:50000/webhooks")
    except InvalidInput as error:
        raise SettingsError(
            f"the demo's endpoints are on this machine, and the settings forbid them: {error}; remove allow_http, "
            "allow_cidrs and allow_ports from the settings, and the demo sets them itself"
        ) from error


class Endpoints:
    """One receiver per customer. Each counts into its own tally, in its own thread."""

    def __init__(self, progress: DemoProgress) -> None:
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
                event_types=(customer.sender.every_type,),
                secret=Given(secret),
                description=f"demo: {customer.endpoint}",
            )

    def close(self) -> None:
        """Close all endpoints."""
        for receiver in self._receivers:
            receiver.close()

    def _open(self, customer: Customer, secret: str) -> str:
        tally = self._progress.tallies[customer.id]
        accepted: set[str | None] = set()

        def verify(received: Received) -> str | None:
            headers = dict(received.headers)
            problem = customer.sender.verify(headers, received.body, secret, int(received.arrived_at))
            tally.genuine += problem is None
            tally.refused += problem is not None
            return problem

        def on_delivery(received: Received, reply: object) -> None:
            if isinstance(reply, CannedResponse) and reply.status == _OK and received.problem is None:
                tally.repeated += received.event_id in accepted
                accepted.add(received.event_id)
                tally.accepted = len(accepted)

        receiver = Receiver(customer.behave, verify=verify, on_delivery=on_delivery, keep=False)
        self._receivers.append(receiver)
        return f"{receiver.url}webhooks"


class Records:
    """Reads the topics of new jobs and of outcomes from their beginning."""

    def __init__(self, settings: Settings, progress: DemoProgress) -> None:
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
        """Count the records that arrive within `timeout_s`."""
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
        """Close the consumer."""
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
def prepared(settings: Settings, progress: DemoProgress) -> Iterator[Records]:
    """Open the endpoints, write the subscriptions and start to read the records."""
    with ExitStack() as stack:
        endpoints = Endpoints(progress)
        stack.callback(endpoints.close)
        writer = SubscriptionWriter(settings.kafka_properties(), settings.names, progress.senders, sealer_of(settings))
        stack.callback(writer.close)
        writer.write([Apply(draft) for draft in endpoints.drafts()], command_author())
        records = Records(settings, progress)
        stack.callback(records.close)
        yield records


def publish(
    settings: Settings, progress: DemoProgress, records: Records, *, events: int, rate: float, on_phase: OnPhase
) -> None:
    """Publish simulated events at a steady rate, equally many of each customer, and count records meanwhile.

    `on_phase` is called repeatedly with the name of the phase.
    """
    with ExitStack() as stack:
        publishers: dict[str, EventPublisher] = {}
        for name, sender in progress.senders.items():
            publisher = EventPublisher(settings.kafka_properties(), sender=sender, topic=settings.names.events(name))
            publishers[name] = stack.enter_context(publisher)
        simulated = {customer.id: _events_of(customer) for customer in progress.customers}
        began_s = time.monotonic()
        progress.first_ms = wall_clock_us() // 1_000
        for number, customer in zip(range(events), cycle(progress.customers), strict=False):
            while number > (time.monotonic() - began_s) * rate:
                records.take(0.01)
                on_phase("publishing")
            publishers[customer.sender.name].publish(next(simulated[customer.id]))
            progress.tallies[customer.id].events += 1


def _events_of(customer: Customer) -> Iterator[Event]:
    return Simulator(secrets.randbits(32), [customer.id], wall_clock_us, customer.sender).events()


def finish(progress: DemoProgress, records: Records, *, within_s: float, on_phase: OnPhase) -> None:
    """Count records until every job has ended, at most `within_s`. `on_phase` as in `publish`."""
    deadline = time.monotonic() + within_s
    while progress.waiting and time.monotonic() < deadline:
        records.take(_POLL_S)
        on_phase("all published; waiting for retries")
    records.take(_POLL_S)


def remove_topics(settings: Settings) -> None:
    """Delete the demo's topics on a broker that was given."""
    admin = reachable_admin(settings)
    names = [topic.name for topic in wanted_topics(settings)]
    for name, future in admin.delete_topics(names, request_timeout=TIMEOUT_S).items():
        with suppress(Unavailable):  # missing, or no permission to delete it
            result(future, f"delete {name}")

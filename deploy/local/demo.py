"""The main job, shown: simulated events of three customers, whose endpoints work, fail twice, and are dead.

Everything is real: a broker, both roles as processes, HTTP endpoints that verify signatures. What is shown is counted
at both ends, by the endpoints and by the topic of outcomes, and has to agree.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.kafka import free_port
from deploy.local.receiver import Receiver
from deploy.local.replies import Answer, Behaviour, Received, always, fail_first
from deploy.sealing_key import sealer_of
from producers.events import EventPublisher, wall_clock_us
from producers.simulator import Simulator
from producers.subscription_changes import Apply
from producers.subscriptions import SubscriptionWriter
from schemas.delivery import OutcomeCodec
from schemas.rules import Draft, Given
from schemas.sender import Sender, load_senders
from schemas.settings import Settings

SENDER: Final = "zenoo"
SPEEDUP: Final = 10_000  # the 26 h 36 min of the schedule take 9.6 s
_LOOK_S: Final = 0.1
_OK: Final = 200
_FAILURE: Final = 503


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of the demo, and how its endpoint behaves; None: nothing listens there."""

    id: str
    endpoint: str
    behave: Behaviour | None


CUSTOMERS: Final = (
    Customer("acme", "healthy", always(Answer())),
    Customer("globex", "fails twice, then works", fail_first(2, Answer(_FAILURE), Answer())),
    Customer("initech", "dead", None),
)


@dataclass(slots=True)
class Tally:
    """What is counted for one customer."""

    events: int = 0
    delivered: int = 0
    retried: int = 0  # jobs that needed more than one attempt
    dead: int = 0
    attempts: int = 0
    genuine: int = 0  # requests whose signature the endpoint verified
    refused: int = 0  # requests whose signature was wrong
    accepted: int = 0  # different events that the endpoint answered with 2xx
    repeated: int = 0  # 2xx for an event that had one already

    @property
    def waiting(self) -> int:
        """Jobs that have not come to an end."""
        return self.events - self.delivered - self.dead


@dataclass(slots=True)
class Progress:
    """All that is known while the demo runs; `latencies_ms` are from the append of an event to its 2xx."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {customer.id: Tally() for customer in CUSTOMERS})
    latencies_ms: list[float] = field(default_factory=list)
    first_ms: int = 0
    last_ms: int = 0

    @property
    def waiting(self) -> int:
        """Jobs that have not come to an end."""
        return sum(tally.waiting for tally in self.tallies.values())

    def rate(self) -> float:
        """Deliveries per second, from the first event to the last 2xx."""
        return len(self.latencies_ms) / max(0.001, (self.last_ms - self.first_ms) / 1_000)

    def percentile(self, share: float) -> float:
        """Return a percentile (0 to 1) of the latencies, in ms."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    def problems(self) -> list[str]:
        """Return what does not add up, a sentence each."""
        found = []
        for customer in CUSTOMERS:
            tally, name = self.tallies[customer.id], customer.id
            dead = customer.behave is None
            expected = {
                "waiting": (tally.waiting, 0),
                "dead": (tally.dead, tally.events if dead else 0),
                "delivered": (tally.delivered, 0 if dead else tally.events),
                "events that its endpoint accepted": (tally.accepted, tally.delivered),
                "accepted more than once": (tally.repeated, 0),
                "requests with a wrong signature": (tally.refused, 0),
                "requests with a verified signature": (tally.genuine, 0 if dead else tally.attempts),
            }
            found += [f"{name}: {is_} {what}, not {must}" for what, (is_, must) in expected.items() if is_ != must]
        return found


class Endpoints:
    """One receiver a customer; counts in the receivers' threads, one tally each."""

    def __init__(self, sender: Sender, progress: Progress) -> None:
        self._sender = sender
        self._progress = progress
        self._receivers: list[Receiver] = []
        self._secrets = {customer.id: secrets.token_urlsafe(24) for customer in CUSTOMERS}

    def drafts(self) -> Iterator[Draft]:
        """Open the endpoints and yield a subscription to each."""
        for customer in CUSTOMERS:
            yield Draft(
                id=f"demo-{customer.id}",
                sender=self._sender.name,
                customer_id=customer.id,
                url=self._open(customer),
                event_types=("*",),
                secret=Given(self._secrets[customer.id]),
                description=f"demo: {customer.endpoint}",
            )

    def close(self) -> None:
        """Close all endpoints."""
        for receiver in self._receivers:
            receiver.close()

    def _open(self, customer: Customer) -> str:
        if customer.behave is None:
            return f"http://127.0.0.1:{free_port()}/webhooks"
        tally, secret, accepted = self._progress.tallies[customer.id], self._secrets[customer.id], set[str | None]()

        def verify(received: Received) -> str | None:
            problem = self._sender.verify(dict(received.headers), received.body, secret)
            tally.genuine += problem is None
            tally.refused += problem is not None
            return problem

        def delivered(received: Received, reply: object) -> None:
            if isinstance(reply, Answer) and reply.status == _OK and received.problem is None:
                tally.repeated += received.event_id in accepted
                accepted.add(received.event_id)
                tally.accepted = len(accepted)

        receiver = Receiver(customer.behave, verify=verify, on_delivery=delivered, keep=False)
        self._receivers.append(receiver)
        return f"{receiver.url}webhooks"


class Outcomes:
    """Follows the topic of outcomes from where it ends now."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._progress = progress
        self._decode = OutcomeCodec().decode
        config = {
            "group.id": f"{settings.prefix}demo",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        self._consumer = Consumer({**settings.kafka_properties(), **config, "fetch.wait.max.ms": 50})
        topic = settings.names.outcomes
        self._consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(settings.partitions)])

    def take(self, timeout_s: float) -> None:
        """Count what has arrived, waiting up to `timeout_s` for it."""
        for message in self._consumer.consume(1_000, timeout_s):
            if message.error() is None:
                self._count(self._decode(message.value()))

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
            self._progress.latencies_ms.append(at_ms + took_us / 1_000 - since_ms)
            self._progress.last_ms = max(self._progress.last_ms, at_ms + took_us // 1_000)


@contextmanager
def prepared(settings: Settings, progress: Progress) -> Iterator[Outcomes]:
    """Open the endpoints, write the subscriptions and follow the outcomes."""
    senders = load_senders()
    with ExitStack() as stack:
        endpoints = Endpoints(senders[SENDER], progress)
        stack.callback(endpoints.close)
        writer = SubscriptionWriter(settings.kafka_properties(), settings.names, senders, sealer_of(settings))
        stack.callback(writer.close)
        writer.write([Apply(draft) for draft in endpoints.drafts()])
        outcomes = Outcomes(settings, progress)
        stack.callback(outcomes.close)
        yield outcomes


def publish(
    settings: Settings, progress: Progress, outcomes: Outcomes, *, events: int, rate: float, show: Callable[[], None]
) -> None:
    """Publish simulated events at a steady rate, counting outcomes meanwhile."""
    simulator = Simulator(secrets.randbits(32), [customer.id for customer in CUSTOMERS], wall_clock_us)
    topic = settings.names.events(SENDER)
    with EventPublisher(settings.kafka_properties(), sender=load_senders()[SENDER], topic=topic) as publisher:
        began = time.monotonic()
        progress.first_ms = wall_clock_us() // 1_000
        for number, event in enumerate(islice(simulator.events(), events)):
            while number > (time.monotonic() - began) * rate:
                outcomes.take(0.01)
                show()
            publisher.publish(event)
            progress.tallies[event.customer_id].events += 1


def finish(progress: Progress, outcomes: Outcomes, *, within_s: float, show: Callable[[], None]) -> None:
    """Count outcomes until every job has come to its end, or the time is over."""
    deadline = time.monotonic() + within_s
    while progress.waiting and time.monotonic() < deadline:
        outcomes.take(_LOOK_S)
        show()
    outcomes.take(_LOOK_S)

"""A complete pipeline for one test: its own topics, subscriptions, events, and role processes as a user starts them.

It contains no stand-ins: `apply` creates the topics, SubscriptionWriter writes subscriptions, EventPublisher events.
"""

from __future__ import annotations

import base64
import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Message

from consumers.kafka.topics import apply
from deploy.config.sealing_key import sealer_of
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply, Command
from producers.subscriptions.writer import Environment, SubscriptionWriter
from schemas.avro.codec import DecodedRecord
from schemas.events.event import Event
from schemas.records.delivery import DeadLetter, DeadLetterCodec, Job, JobCodec, OutcomeCodec
from schemas.senders.sender import load_senders
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Draft, Given
from tests.support.roles import Role, RoleStarter
from tests.support.settings import load_settings
from tests.support.sources import topics_and_sources, zenoo_alone
from tests.support.subscriptions import AUTHOR
from tests.support.topics import TopicFollower, admin_of, end_offsets, read_topic
from tests.support.waiting import HANGS_S, wait_until

SECRET = "secret-of-the-tests-0123456789"
CUSTOMER = "acme"
ENDS = ("delivered", "dead", "cancelled")


class Pipeline:
    """Topics with `prefix` on a broker, and roles with the same settings."""

    def __init__(self, bootstrap_servers: str, prefix: str, start_role: RoleStarter, **settings: Any) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.values: dict[str, Any] = {
            "prefix": prefix,
            "partitions": 3,
            "replication": 1,
            "sealing_key": base64.b64encode(bytes(range(32))).decode(),
            "allow_http": True,
            "allow_cidrs": ["127.0.0.0/8"],
            "allow_ports": [0],
            "start_at": "earliest",
            "log_format": "json",
            "sources": zenoo_alone(prefix),
            **settings,
        }
        self.settings: Settings = load_settings(kafka={"bootstrap.servers": bootstrap_servers}, **self.values)
        self.names = self.settings.names
        self._start_role = start_role
        self._only: str | None = None  # the customer whose records are visible, if tests share the pipeline
        self.customer = CUSTOMER
        self.admin = admin_of(bootstrap_servers)
        self.sender = load_senders()["zenoo"]
        self._outcomes: list[DecodedRecord] = []
        self._new_outcomes = TopicFollower(bootstrap_servers, self.names.outcomes)
        self.events_topic = self.names.events(self.sender.name)
        apply(self.settings.kafka_properties(), self.admin, topics_and_sources(self.settings), self.names)

    def of_customer(self, customer: str) -> Pipeline:
        """Return a view of this pipeline for a test that shares it: records of other customers are not visible."""
        view = copy.copy(self)
        view.customer = customer
        view._only = customer
        return view

    def subscription_id(self, number: int = 0) -> str:
        """Return the id that `subscribe` gives to a subscription."""
        return f"sub-{number}" if self._only is None else f"{self._only}-{number}"

    def env(self, **more: Any) -> dict[str, str]:
        """Return the settings as environment variables."""
        values = self.values | more
        env = {f"SIGNPOST_{key.upper()}": _variable(value) for key, value in values.items()}
        return env | {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    def start(self, role: str, *args: str, ready: bool = True, **more: Any) -> Role:
        """Start a role and, with `ready`, wait until it is ready; `more` are further settings."""
        process = self._start_role([role, *args], self.env(**more))
        return process.wait_ready() if ready else process

    def router(self, **more: Any) -> Role:
        """Start a router."""
        return self.start("router", "--instance", "0", **more)

    def deliver(self, instance: int = 0, **more: Any) -> Role:
        """Start a delivery process."""
        return self.start("deliver", "--instance", str(instance), **more)

    def ledger(self, url: str, instance: int = 0, *, ready: bool = True) -> Role:
        """Start a ledger process that writes into the database at `url`."""
        return self.start("ledger", "--instance", str(instance), ready=ready, database_url=url)

    def write(self, *changes: Command, now_ms: int | None = None) -> None:
        """Write changes of subscriptions, at `now_ms` instead of now; returns when they are acknowledged."""
        senders = load_senders()
        kafka, sealer = self.settings.kafka_properties(), sealer_of(self.settings)
        writer = SubscriptionWriter(kafka, self.names, senders, sealer, environment=_environment_at(now_ms))
        try:
            writer.write(changes, AUTHOR)
        finally:
            writer.close()

    def subscribe(self, *urls: str, customer: str | None = None, secret: str = SECRET, start: int = 0) -> list[str]:
        """Write a subscription to all event types for each URL; return the ids."""
        drafts = [
            Draft(
                id=self.subscription_id(start + number),
                sender=self.sender.name,
                customer_id=customer or self.customer,
                url=url,
                event_types=("*",),
                secret=Given(secret),
            )
            for number, url in enumerate(urls)
        ]
        self.write(*(Apply(draft) for draft in drafts))
        return [draft.id for draft in drafts]

    def publish(self, events: Iterable[Event | Mapping[str, Any]]) -> list[Event]:
        """Publish events; returns when the broker has acknowledged all of them."""
        kafka = self.settings.kafka_properties()
        with EventPublisher(kafka, sender=self.sender, topic=self.events_topic) as publisher:
            return [publisher.publish(event) for event in events]

    def publish_some(self, count: int, customer: str | None = None, start: int = 0) -> list[Event]:
        """Publish small events with ids `evt_<number>`."""
        return self.publish(small_event(number, customer or self.customer) for number in range(start, start + count))

    def outcomes(self) -> list[DecodedRecord]:
        """Return all committed outcomes, by partition and offset in the order in which they were seen here."""
        decode = OutcomeCodec().decode
        self._outcomes += [decode(message.value()) for message in self._new_outcomes.read()]
        return [outcome for outcome in self._outcomes if self._is_ours(outcome["subscription_id"])]

    def jobs(self) -> list[Job]:
        """Return all records of jobs.0s."""
        decode = JobCodec().decode
        found = [decode(message.value()) for message in self.read(f"{self.names.prefix}jobs.0s")]
        return [job for job in found if self._is_ours(job.subscription_id)]

    def job_places(self) -> list[tuple[str, int, int]]:
        """Return job id, partition and offset of all records of jobs.0s, by partition and offset."""
        decode = JobCodec().decode
        messages = self.read(f"{self.names.prefix}jobs.0s")
        return [(decode(m.value()).job_id, m.partition() or 0, m.offset() or 0) for m in messages]

    def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters."""
        decode = DeadLetterCodec().decode
        found = [decode(message.value()) for message in self.read(self.names.dead)]
        return [letter for letter in found if self._is_ours(letter.subscription_id or "")]

    def _is_ours(self, subscription: str) -> bool:
        return self._only is None or subscription.startswith(f"{self._only}-")

    def read(self, topic: str) -> list[Message]:
        """Return all committed records of a topic."""
        return read_topic(self.bootstrap_servers, topic)

    def size(self, topic: str) -> int:
        """Return the sum of the last stable offsets of a topic."""
        return sum(end_offsets(self.bootstrap_servers, topic, admin=self.admin).values())

    def wait_for_ends(self, jobs: int, deadline_s: float = HANGS_S) -> list[DecodedRecord]:
        """Wait until `jobs` jobs have ended; return all outcomes."""

        def all_ended() -> list[DecodedRecord]:
            outcomes = self.outcomes()
            ends = len(ends_of(outcomes))
            assert ends >= jobs, f"{ends} of {jobs} jobs have ended"
            return outcomes

        return wait_until(all_ended, deadline_s, f"{jobs} jobs have ended")


def ends_of(outcomes: Iterable[DecodedRecord]) -> Counter[str]:
    """Return the number of final outcomes of each job."""
    return Counter(outcome["job_id"] for outcome in outcomes if outcome["state"] in ENDS)


def small_event(number: int, customer: str = CUSTOMER) -> dict[str, Any]:
    """Return an event in its JSON form."""
    return {
        "event_id": f"evt_{number}",
        "event_type": "alert.ai_research_completed",
        "created_at": "2026-02-16T10:05:30Z",
        "customer_id": customer,
        "data": {
            "alert_token": f"alt_{number}",
            "confidence": 85,
            "false_positive_probability": 82,
            "recommended_action": "Approve",
        },
    }


def _variable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _environment_at(now_ms: int | None) -> Environment:
    # Half a millisecond more, because the writer cuts off the rest of a float.
    return Environment() if now_ms is None else Environment(clock=lambda: (now_ms + 0.5) / 1_000)

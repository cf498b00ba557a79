"""A healthy installation for `signpost doctor`, with everything around it. Tests plant faults in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from consumers.kafka.topics import apply, plan
from consumers.ledger.database import migrate
from deploy.config.settings_sources import load
from deploy.dev.receiver import Receiver
from deploy.doctor.examination.context import ExaminationEnvironment, ExaminationRequest, Report
from deploy.doctor.examination.run import examine
from producers.keys.writer import KeyWriter, NewKey
from producers.subscriptions.changes import Apply
from schemas.keys.hashing import KeyHasher
from schemas.records.topics import TopicNames
from schemas.settings.settings import Settings
from schemas.subscriptions.rules import Draft, Generate, Given
from schemas.subscriptions.subscription import Subscription, encode_subscription
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.small_registry import SmallRegistry, running_registry
from tests.support.sources import topics_and_sources, zenoo_alone
from tests.support.subscriptions import AUTHOR, KEY, present, writer_of
from tests.support.topics import admin_of, produce
from tests.support.waiting import wait_until

HOST: Final = "hooks.example.com"
# A subscription, and one of a sender that documents a test event.
ID: Final = "acme-cases"
TESTED: Final = "acme-onboarding"
NOW: Final = ExaminationEnvironment().clock
_WHOLE: Final = ExaminationRequest()


@dataclass(slots=True)
class World:
    """A healthy installation: topics, subscriptions, an API key, and everything around it. Tests plant faults in it."""

    bootstrap_servers: str
    values: dict[str, Any]
    folder: Path
    receiver: Receiver
    registry: SmallRegistry
    admin: AdminClient
    undo: ExitStack = field(default_factory=ExitStack)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return load(kafka={"bootstrap.servers": self.bootstrap_servers}, **self.values).settings

    @property
    def names(self) -> TopicNames:
        return TopicNames(self.values["prefix"])

    def examine(
        self,
        request: ExaminationRequest = _WHOLE,
        *,
        without: str = "",
        bootstrap_servers: str = "",
        ahead_ms: int = 0,
        connect_s: float = 5.0,
        **changes: Any,
    ) -> Report:
        """Return doctor's report about this installation, with changed settings and clock."""
        values = {name: value for name, value in (self.values | changes).items() if name != without}
        servers = {"bootstrap.servers": bootstrap_servers or self.bootstrap_servers}
        environment = ExaminationEnvironment(clock=lambda: NOW() + ahead_ms, connect_s=connect_s)
        return examine(lambda: load(kafka=servers, **values), request, environment)

    def env(self) -> dict[str, str]:
        """Return the settings as environment variables."""
        values = {
            f"SIGNPOST_{name.upper()}": value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in self.values.items()
        }
        return values | {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    def write(self, topic: str, key: str, value: bytes) -> None:
        """Write a record, and a tombstone at the end of the test."""
        produce(self.bootstrap_servers, topic, value, key.encode(), partition=0)
        self.undo.callback(produce, self.bootstrap_servers, topic, None, key.encode(), partition=0)

    def change(self, id_: str, **fields: Any) -> None:
        """Write another record of a subscription, and its own one at the end of the test."""
        own = self.subscriptions[id_]
        topic, key = self.names.subscriptions, id_.encode()
        produce(self.bootstrap_servers, topic, encode_subscription(replace(own, **fields)), key, partition=0)
        self.undo.callback(produce, self.bootstrap_servers, topic, encode_subscription(own), key, partition=0)

    def apply(self) -> None:
        """Create and alter topics as the settings say."""
        settings = self.settings
        apply(settings.kafka_properties(), self.admin, topics_and_sources(settings), settings.names)

    def wait_planned(self) -> None:
        """Wait until the brokers show the planted difference of a topic."""
        settings = self.settings
        wanted = topics_and_sources(settings)
        wait_until(lambda: plan(settings.kafka_properties(), self.admin, wanted, settings.names), what="a difference")


@contextmanager
def installed(bootstrap_servers: str, prefix: str, folder: Path) -> Iterator[World]:
    """Yield a healthy installation whose files are in `folder`."""
    authority = Authority(folder)
    with ExitStack() as closing:
        receiver = closing.enter_context(Receiver(tls=authority.server(HOST)))
        dns = DnsServer(lambda _name, _times: ["127.0.0.1"], ttl=60)
        closing.callback(dns.close)
        registry = closing.enter_context(running_registry())
        values = {
            "prefix": prefix,
            "partitions": 1,
            "replication": 1,
            "sources": zenoo_alone(prefix),
            "sealing_key": base64.b64encode(KEY).decode(),
            "allow_cidrs": ["127.0.0.0/8"],
            "allow_ports": [0],
            "dns_servers": [dns.address],
            "dns_timeout": "1s",
            "ca_bundle": str(authority.roots),
            "schema_registry_url": registry.url,
            "database_url": f"sqlite:///{folder / 'ledger.db'}",
        }
        world = World(bootstrap_servers, values, folder, receiver, registry, admin_of(bootstrap_servers))
        world.apply()
        migrate(values["database_url"])
        _subscribe(world)
        yield world


def _subscribe(world: World) -> None:
    """Write two subscriptions of the endpoint, and an API key."""
    properties, url = world.settings.kafka_properties(), f"https://{HOST}:{world.receiver.port}/hook"
    writer = writer_of(properties, world.names)
    try:
        drafts = [
            Draft(
                id=ID,
                sender="zenoo",
                customer_id="acme",
                url=url,
                event_types=("*",),
                secret=Given("a-secret-of-acme-0123456789"),
            ),
            Draft(
                id=TESTED,
                sender="onboarding",
                customer_id="acme",
                url=url,
                event_types=("all",),
                secret=Generate(),
            ),
        ]
        writer.write([Apply(draft) for draft in drafts], AUTHOR)
        world.subscriptions = present(writer)
    finally:
        writer.close()
    keys = KeyWriter(properties, world.names, KeyHasher(world.names.api_keys, [KEY]))
    try:
        keys.create(NewKey(sender="onboarding", customer_id="acme"), AUTHOR)
    finally:
        keys.close()


def codes(report: Report) -> set[str]:
    """Return the codes of the findings; each finding is complete."""
    for finding in report.findings:
        assert finding.where, finding
        assert finding.what, finding
        assert finding.do, finding
    return {finding.code for finding in report.findings}

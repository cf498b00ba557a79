"""Subscriptions for tests: their topic, a writer, and drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from producers.compacted.author import Author
from producers.compacted.environment import Environment
from producers.subscriptions.changes import AuthoredCommand, Result
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import SubscriptionError
from schemas.records.topics import TopicNames
from schemas.senders.sender import load_senders
from schemas.subscriptions.rules import Draft
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import Subscription
from tests.support.topics import create_topic

KEY: Final = bytes(range(32))
AUTHOR: Final = Author("cli:of-the-tests")
PARTITIONS: Final = 4
MakeWriter: TypeAlias = Callable[..., SubscriptionWriter]


def subscriptions_topic(bootstrap_servers: str, prefix: str, partitions: int = PARTITIONS) -> TopicNames:
    """Create the topics `subscriptions` and `health`, and `operations` for the audit records."""
    names = TopicNames(prefix)
    create_topic(bootstrap_servers, names.operations, partitions)
    for topic in (names.subscriptions, names.health):
        create_topic(bootstrap_servers, topic, partitions, cleanup_policy="compact")
    return names


def kafka_of(bootstrap_servers: str) -> dict[str, str]:
    """Return the Kafka properties of a client."""
    return {"bootstrap.servers": bootstrap_servers}


def writer_of(
    kafka: Mapping[str, str],
    names: TopicNames,
    key: bytes = KEY,
    environment: Environment | None = None,
    timeout_s: float = 30.0,
) -> SubscriptionWriter:
    """Return a writer with the sealing key of the tests."""
    return SubscriptionWriter(kafka, names, load_senders(), Sealer([key]), environment=environment, timeout_s=timeout_s)


@contextmanager
def making_writers(kafka: Mapping[str, str], names: TopicNames) -> Iterator[MakeWriter]:
    """Yield a function that makes writers, with the options of `writer_of`; close them at the end."""
    made: list[SubscriptionWriter] = []

    def make(**options: Any) -> SubscriptionWriter:
        writer = writer_of(kafka, names, **options)
        made.append(writer)
        return writer

    try:
        yield make
    finally:
        for writer in made:
            writer.close()


def present(writer: SubscriptionWriter) -> dict[str, Subscription]:
    """Return the present subscriptions by id."""
    return {id_: found for id_, found in writer.read().items() if isinstance(found, Subscription)}


def draft(id_: str, customer_id: str = "acme", **fields: Any) -> Draft:
    """Return a draft of a zenoo subscription to all event types."""
    given: dict[str, Any] = {"url": "https://hooks.acme.example/zenoo", "event_types": ("*",)}
    return Draft(id=id_, sender="zenoo", customer_id=customer_id, **(given | fields))


def write_each(writer: SubscriptionWriter, commands: Sequence[AuthoredCommand]) -> list[Result | Exception]:
    """Execute independent commands, at most one per id, as an API does; return the result or the error of each."""
    writer.read()
    done: dict[str, Result | Exception] = {}
    batches: dict[int, list[AuthoredCommand]] = {}
    for one in commands:
        try:
            batches.setdefault(writer.partition_for(one.command), []).append(one)
        except SubscriptionError as error:
            done[one.command.id] = error
    for partition, batch in batches.items():
        writer.begin_each(partition, batch)
    while batches:
        for ended in writer.turn(0.05):
            batch = batches.pop(ended.partition)
            done |= {one.command.id: result for one, result in zip(batch, ended.results, strict=True)}
    return [done[one.command.id] for one in commands]

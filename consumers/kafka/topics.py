"""Topic configuration: compare the topics of the cluster with the required ones, and apply the differences.

`plan` only reads. `apply` makes the changes of `plan`; it may run twice at once, and again after an interruption.
Each role calls `check` before it starts. `check` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from consumers.kafka.adaptive_timeout import MAX_S, AdaptiveTimeout
from consumers.kafka.admin import CLIENT_ERRORS, TIMEOUT_S, NotSettled, failed, metadata_of, result, settled
from consumers.kafka.positions import CommittedPositions, commit_positions
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST, Topic, TopicNames

_ADVICE: Final = "run `signpost topics apply`; `signpost topics plan` shows the changes first"


@dataclass(frozen=True, slots=True)
class Create:
    """A topic is missing."""

    topic: Topic

    def __str__(self) -> str:
        topic = self.topic
        partitions = f"{topic.partitions} partition{'' if topic.partitions == 1 else 's'}"
        return f"create {topic.name}: {partitions}, replication {topic.replication}"


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Configs of a topic differ: name to (present value, required value)."""

    name: str
    configs: Mapping[str, tuple[str | None, str]]

    def __str__(self) -> str:
        return f"alter {self.name}: " + ", ".join(f"{k} {has} -> {to}" for k, (has, to) in self.configs.items())


@dataclass(frozen=True, slots=True)
class SetBeginning:
    """Delivery has no position in the empty topic of new jobs, and would have to guess one."""

    group: str
    topic: str
    partitions: tuple[int, ...]

    def __str__(self) -> str:
        return f"commit the beginning of {self.topic} for the group {self.group}: {len(self.partitions)} partitions"


@dataclass(frozen=True, slots=True)
class Impossible:
    """A difference that no command of Signpost may change; `remedy` is what to do instead."""

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"cannot change {self.name}: {self.problem}: {self.remedy}"


TopicChange: TypeAlias = Create | Reconfigure | SetBeginning | Impossible
Kafka: TypeAlias = Mapping[str, str]


def delivery_group(names: TopicNames) -> str:
    """Return the id of the consumer group of the delivery role."""
    return f"{names.prefix}deliver"


def router_group(names: TopicNames) -> str:
    """Return the id of the consumer group of the router role."""
    return f"{names.prefix}router"


def ledger_group(names: TopicNames) -> str:
    """Return the id of the consumer group of the ledger, which shares the partitions; its positions are in SQL."""
    return f"{names.prefix}ledger"


def plan(kafka: Kafka, admin: AdminClient, wanted: Sequence[Topic], names: TopicNames) -> list[TopicChange]:
    """Compare the topics of the cluster with `wanted`; an empty list means no difference.

    `kafka` are the properties of the connection of `admin`.
    """
    return settled(lambda: _plan(kafka, admin, wanted, names))


def _plan(kafka: Kafka, admin: AdminClient, wanted: Sequence[Topic], names: TopicNames) -> list[TopicChange]:
    present = _topics(admin)
    changes: list[TopicChange] = [Create(topic) for topic in wanted if topic.name not in present]
    # Event topics belong to their teams: Signpost creates missing ones, but never compares them.
    existing = [topic for topic in wanted if topic.name in present and topic.own]
    for topic in existing:
        changes += _layout(topic, present[topic.name].partitions)
    changes += _configs(admin, existing)
    first = names.jobs(FIRST)
    if first in present and any(topic.name == first for topic in wanted):
        changes += _beginnings(kafka, admin, delivery_group(names), first, len(present[first].partitions))
    return changes


def apply(
    kafka: Kafka,
    admin: AdminClient,
    wanted: Sequence[Topic],
    names: TopicNames,
    report: Callable[[TopicChange], None] = lambda change: None,
    *,
    begin: Callable[[Sequence[Topic]], None] = lambda topics: None,
) -> list[TopicChange]:
    """Make the changes of `plan` and return them. If one is Impossible, change nothing and raise Unavailable.

    `begin` gets the topics that are about to be created, if any, which may take long. `report` gets each change made.
    """
    changes = plan(kafka, admin, wanted, names)
    if refused := [str(change) for change in changes if isinstance(change, Impossible)]:
        raise Unavailable("\n".join(refused))
    created = [change.topic for change in changes if isinstance(change, Create)]
    if created:
        begin(created)
    _create(admin, created)
    if wrong := [change for change in changes if isinstance(change, Reconfigure)]:
        _alter(admin, wrong)
        settled(lambda: _expect_configs(admin, [topic for topic in wanted if topic.name in {c.name for c in wrong}]))
    if any(topic.name == names.jobs(FIRST) for topic in created):
        # This change is known only after the topic exists. If an apply ends before this line, the next one completes
        # it, and until then no role starts (check).
        changes += [change for change in plan(kafka, admin, wanted, names) if isinstance(change, SetBeginning)]
    for change in changes:
        if isinstance(change, SetBeginning):
            _commit_beginning(kafka, admin, change, wanted, names)
        report(change)
    return changes


def check(kafka: Kafka, admin: AdminClient, wanted: Sequence[Topic], names: TopicNames) -> None:
    """Raise Unavailable unless all topics have the required configuration."""
    changes = plan(kafka, admin, wanted, names)
    if not changes:
        return
    shown = [str(change) for change in changes[:3]]
    if len(changes) > len(shown):
        shown.append(f"and {len(changes) - len(shown)} more")
    advice = "" if all(isinstance(change, Impossible) for change in changes) else f"; {_ADVICE}"
    raise Unavailable(f"topic configuration mismatch: {'; '.join(shown)}{advice}")


def check_sources(admin: AdminClient, topics: Iterable[str]) -> None:
    """Raise Unavailable if a source topic is missing, which its team has to create."""
    if missing := sorted(set(topics) - _topics(admin).keys()):
        raise Unavailable(
            f"the source topic {missing[0]} does not exist: create it, or remove it from the setting `sources`"
        )


def check_leaders(admin: AdminClient, topics: Iterable[str]) -> None:
    """Raise NotSettled if a partition of a topic has no leader, for example while brokers start."""
    present = _topics(admin)
    for topic in topics:
        partitions = present[topic].partitions.values() if topic in present else []
        if not partitions or any(partition.leader < 0 for partition in partitions):
            raise NotSettled(f"the topic {topic} has partitions without a leader: are all brokers up?")


def _layout(topic: Topic, partitions: Mapping[int, Any]) -> list[TopicChange]:
    changes: list[TopicChange] = []
    if len(partitions) != topic.partitions and topic.has_fixed_partitions:
        problem = (
            f"it has {len(partitions)} partitions, and {topic.partitions} is the only right number; the number cannot "
            "change later"
        )
        changes.append(Impossible(topic.name, problem, "delete the topic, or use another prefix"))
    elif len(partitions) != topic.partitions:
        # Keys are hashed over the number of partitions. The jobs of a subscription, its retries and its state must stay
        # on the same partition number.
        problem = (
            f"it has {len(partitions)} partitions, the settings say {topic.partitions}; the number cannot change later"
        )
        changes.append(Impossible(topic.name, problem, f"set partitions = {len(partitions)}, or use another prefix"))
    replicas = min((len(partition.replicas) for partition in partitions.values()), default=0)
    if replicas < topic.replication:
        problem = f"it has {replicas} replicas, the settings say {topic.replication}"
        remedy = f"add replicas with kafka-reassign-partitions, or set replication = {replicas}"
        changes.append(Impossible(topic.name, problem, remedy))
    return changes


def _configs(admin: AdminClient, topics: Sequence[Topic]) -> list[TopicChange]:
    if not topics:
        return []
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    futures = {
        resource.name: future
        for resource, future in admin.describe_configs(resources, request_timeout=TIMEOUT_S).items()
    }
    changes: list[TopicChange] = []
    for topic in topics:
        entries = result(futures[topic.name], f"the configs of {topic.name}")
        present = {name: entry.value for name, entry in entries.items()}
        wrong = {
            name: (present.get(name), value) for name, value in topic.configs.items() if present.get(name) != value
        }
        if wrong:
            changes.append(Reconfigure(topic.name, wrong))
    return changes


def _beginnings(kafka: Kafka, admin: AdminClient, group: str, topic: str, partitions: int) -> list[TopicChange]:
    """Find partitions without a position and without any record: only there the beginning is no guess."""
    try:
        positions = CommittedPositions(kafka, admin, group, AdaptiveTimeout(MAX_S))
        found = positions.fetch([(topic, number) for number in range(partitions)])
    except CLIENT_ERRORS as error:
        raise failed(error, f"the positions of the group {group}") from error
    empty = sorted(number for (_, number), known in found.items() if known.offset is None and known.end == 0)
    return [SetBeginning(group, topic, tuple(empty))] if empty else []


def _create(admin: AdminClient, topics: Sequence[Topic]) -> None:
    if not topics:
        return
    new = [NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.configs)) for topic in topics]
    for name, future in admin.create_topics(new, request_timeout=TIMEOUT_S, operation_timeout=TIMEOUT_S).items():
        try:
            result(future, f"create {name}")
        except Unavailable as error:
            cause = error.__cause__
            code = cause.args[0].code() if isinstance(cause, KafkaException) else None
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another apply created it first
            if code == KafkaError.INVALID_REPLICATION_FACTOR:
                raise _too_few_brokers(admin, next(topic for topic in topics if topic.name == name)) from error
            raise
    settled(lambda: check_leaders(admin, [topic.name for topic in topics]))


def _too_few_brokers(admin: AdminClient, topic: Topic) -> Unavailable:
    brokers = len(metadata_of(admin).brokers)
    number = f"{brokers} broker{'' if brokers == 1 else 's'}"
    return Unavailable(
        f"create {topic.name}: replication {topic.replication} needs as many brokers, and the cluster has {number}; "
        f"set replication = {brokers} in signpost.toml (SIGNPOST_REPLICATION={brokers}), or add brokers"
    )


def _expect_configs(admin: AdminClient, topics: Sequence[Topic]) -> None:
    if wrong := _configs(admin, topics):
        raise NotSettled(f"the brokers did not apply a config: {wrong[0]}")


def _alter(admin: AdminClient, changes: Sequence[Reconfigure]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            change.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, (_, value) in change.configs.items()
            ],
        )
        for change in changes
    ]
    for resource, future in admin.incremental_alter_configs(resources, request_timeout=TIMEOUT_S).items():
        result(future, f"alter {resource.name}")


def _commit_beginning(
    kafka: Kafka, admin: AdminClient, change: SetBeginning, wanted: Sequence[Topic], names: TopicNames
) -> None:
    try:
        commit_positions(kafka, change.group, {(change.topic, number): 0 for number in change.partitions})
    except Unavailable:
        # The broker refuses this for a group with members. There are some if another apply finished first.
        if any(isinstance(left, SetBeginning) for left in plan(kafka, admin, wanted, names)):
            raise


def _topics(admin: AdminClient) -> Mapping[str, Any]:
    return metadata_of(admin).topics

"""The difference between the topics that are and those that have to be: shown, made, and refused by the roles.

`plan` only reads. `apply` makes what `plan` found; it may run twice at once, and again after it was interrupted.
`check` is what a role does before it starts: it never mends anything itself.
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
from consumers.kafka.admin import CLIENT_ERRORS, TIMEOUT_S, NotSettled, failed, result, settled
from consumers.kafka.positions import CommittedPositions, commit_positions
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST, Topic, TopicNames

MEND: Final = "run `signpost topics apply`; `signpost topics plan` shows the changes first"


@dataclass(frozen=True, slots=True)
class Create:
    """A topic is missing."""

    topic: Topic

    def __str__(self) -> str:
        topic = self.topic
        return f"create {topic.name}: {topic.partitions} partitions, replication {topic.replication}"


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Configs of a topic are not as they must be: name to (what is, what must be)."""

    name: str
    configs: Mapping[str, tuple[str | None, str]]

    def __str__(self) -> str:
        return f"alter {self.name}: " + ", ".join(f"{k} {has} -> {to}" for k, (has, to) in self.configs.items())


@dataclass(frozen=True, slots=True)
class SetBeginning:
    """Delivery has no position in the empty topic of new jobs; without one it would have to guess."""

    group: str
    topic: str
    partitions: tuple[int, ...]

    def __str__(self) -> str:
        return f"commit the beginning of {self.topic} for the group {self.group}: {len(self.partitions)} partitions"


@dataclass(frozen=True, slots=True)
class Impossible:
    """Something that no command of Signpost may change; `reason` says what and what to do."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"cannot change {self.name}: {self.reason}"


Change: TypeAlias = Create | Reconfigure | SetBeginning | Impossible
Kafka: TypeAlias = Mapping[str, str]


def delivery_group(names: TopicNames) -> str:
    """Return the id of the consumer group of the delivery role."""
    return f"{names.prefix}deliver"


def router_group(names: TopicNames) -> str:
    """Return the id of the consumer group of the router role."""
    return f"{names.prefix}router"


def plan(kafka: Kafka, admin: AdminClient, wanted: Sequence[Topic], names: TopicNames) -> list[Change]:
    """Compare the topics of the cluster with `wanted`; an empty list means that all is as it must be.

    `kafka` are the properties of the connection, by which `admin` was made.
    """
    return settled(lambda: _plan(kafka, admin, wanted, names))


def _plan(kafka: Kafka, admin: AdminClient, wanted: Sequence[Topic], names: TopicNames) -> list[Change]:
    present = _topics(admin)
    changes: list[Change] = [Create(topic) for topic in wanted if topic.name not in present]
    existing = [topic for topic in wanted if topic.name in present and _is_own(topic)]
    for topic in existing:
        changes += _shape(topic, present[topic.name].partitions)
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
    report: Callable[[Change], None] = lambda change: None,
    *,
    begin: Callable[[Sequence[Topic]], None] = lambda topics: None,
) -> list[Change]:
    """Make what `plan` finds and return it; nothing is made where something is Impossible (Unavailable says what).

    `begin` gets the topics that are about to be made, if any, which may take long; `report` gets each change made.
    """
    changes = plan(kafka, admin, wanted, names)
    if refused := [str(change) for change in changes if isinstance(change, Impossible)]:
        raise Unavailable("\n".join(refused))
    made = [change.topic for change in changes if isinstance(change, Create)]
    if made:
        begin(made)
    _create(admin, made)
    if wrong := [change for change in changes if isinstance(change, Reconfigure)]:
        _alter(admin, wrong)
        settled(lambda: _expect_configs(admin, [topic for topic in wanted if topic.name in {c.name for c in wrong}]))
    if any(topic.name == names.jobs(FIRST) for topic in made):
        # Known only now that the topic is there. An apply that ends before this is completed by the next one, and
        # until then no role starts (check).
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
    advice = "" if all(isinstance(change, Impossible) for change in changes) else f"; {MEND}"
    raise Unavailable(f"topic configuration mismatch: {'; '.join(shown)}{advice}")


def check_sources(admin: AdminClient, topics: Iterable[str]) -> None:
    """Raise Unavailable where a source topic is missing: it is its team's to make."""
    if missing := sorted(set(topics) - _topics(admin).keys()):
        raise Unavailable(
            f"the source topic {missing[0]} does not exist: create it, or take it out of the setting `sources`"
        )


def check_leaders(admin: AdminClient, topics: Iterable[str]) -> None:
    """Raise NotSettled where a topic has partitions that cannot be read or written, as long as its brokers start."""
    present = _topics(admin)
    for topic in topics:
        partitions = present[topic].partitions.values() if topic in present else []
        if not partitions or any(partition.leader < 0 for partition in partitions):
            raise NotSettled(f"the topic {topic} has partitions without a leader: are all brokers up?")


def _is_own(topic: Topic) -> bool:
    # Event topics belong to their teams: made where they are missing, never compared. All others have this config.
    return "message.timestamp.type" in topic.configs


def _shape(topic: Topic, partitions: Mapping[int, Any]) -> list[Change]:
    changes: list[Change] = []
    if len(partitions) != topic.partitions:
        # Keys are hashed over the number of partitions; jobs of a subscription, its retries and its state have to
        # stay on the same partition number.
        reason = (
            f"it has {len(partitions)} partitions, the settings say {topic.partitions}; the number is fixed when the "
            f"topic is made: set partitions = {len(partitions)}, or start again with another prefix"
        )
        changes.append(Impossible(topic.name, reason))
    replicas = min((len(partition.replicas) for partition in partitions.values()), default=0)
    if replicas < topic.replication:
        reason = (
            f"it has {replicas} replicas, the settings say {topic.replication}: "
            f"add replicas with kafka-reassign-partitions, or set replication = {replicas}"
        )
        changes.append(Impossible(topic.name, reason))
    return changes


def _configs(admin: AdminClient, topics: Sequence[Topic]) -> list[Change]:
    if not topics:
        return []
    asked = {topic.name: ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics}
    answers = {
        resource.name: future
        for resource, future in admin.describe_configs(list(asked.values()), request_timeout=TIMEOUT_S).items()
    }
    changes: list[Change] = []
    for topic in topics:
        entries = result(answers[topic.name], f"the configs of {topic.name}")
        present = {name: entry.value for name, entry in entries.items()}
        if wrong := {
            name: (present.get(name), value) for name, value in topic.configs.items() if present.get(name) != value
        }:
            changes.append(Reconfigure(topic.name, wrong))
    return changes


def _beginnings(kafka: Kafka, admin: AdminClient, group: str, topic: str, partitions: int) -> list[Change]:
    """Find partitions without a position into which nothing was ever written: only there is none to be guessed."""
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
            if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another apply was quicker
            raise
    settled(lambda: check_leaders(admin, [topic.name for topic in topics]))


def _expect_configs(admin: AdminClient, topics: Sequence[Topic]) -> None:
    if wrong := _configs(admin, topics):
        raise NotSettled(f"the brokers do not take a config: {wrong[0]}")


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
        # The broker refuses this to a group with members. They may be there because another apply was quicker.
        if any(isinstance(left, SetBeginning) for left in plan(kafka, admin, wanted, names)):
            raise


def _topics(admin: AdminClient) -> Mapping[str, Any]:
    try:
        return admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise Unavailable(f"the brokers do not answer: {error.args[0].str()}") from error

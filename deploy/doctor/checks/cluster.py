"""Checks of the brokers: their number, versions and configuration, and the replicas of partitions.

A broker does not report its version to clients. Before Kafka 4 its configuration has `inter.broker.protocol.version`;
Kafka 4 removed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consumers.kafka.safety import Risk, about_brokers, about_source
from consumers.kafka.transactions import MAX_TIMEOUT_S, TRANSACTION_TIMEOUT_S
from deploy.doctor.findings import Finding, FindingCode, Severity, error, some_of, warning

# Kafka's own topics: positions, and the state of transactions.
INTERNAL: Final = ("__consumer_offsets", "__transaction_state")
REPLICAS: Final = 3
_VERSION: Final = "inter.broker.protocol.version"
# Transactions that contain positions are bound to the generation of a group since 2.5 (KIP-447).
_OLDEST: Final = (2, 5)
_KAFKA_4: Final = "4.0 or later"
_UNCLEAN: Final = "unclean.leader.election.enable"
_IN_SYNC: Final = "min.insync.replicas"
_TRANSACTION: Final = "transaction.max.timeout.ms"
_CLEANUP: Final = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
_CLEANUP_MS: Final = 1_000
_CODES: Final[Mapping[str, FindingCode]] = {
    "offsets.retention.minutes": "positions_retention_short",
    _IN_SYNC: "min_insync_low",
    _UNCLEAN: "unclean_election",
}


@dataclass(frozen=True, slots=True)
class BrokerView:
    """A broker and its configuration; empty if the principal may not read it."""

    id: int
    configs: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class PartitionView:
    """A partition: its leader (-1: none), and the numbers of its replicas and in-sync replicas."""

    number: int
    leader: int
    replicas: int
    in_sync: int


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic and its configuration; empty if the principal may not read it."""

    name: str
    partitions: tuple[PartitionView, ...]
    configs: Mapping[str, str | None]

    @property
    def replicas(self) -> int:
        """The smallest number of replicas of a partition."""
        return min((partition.replicas for partition in self.partitions), default=0)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The brokers, and those of Signpost's topics, sources and internal topics that exist, by name."""

    brokers: tuple[BrokerView, ...]
    topics: Mapping[str, TopicView]


def check_brokers(cluster: ClusterView, replication: int) -> list[Finding]:
    """Return the findings about the brokers; `replication` is that of the settings."""
    return [
        *_check_number(len(cluster.brokers), replication),
        *_check_versions(cluster.brokers),
        *_check_positions(cluster.brokers),
        *_check_configs(cluster.brokers),
        *_check_internal(cluster, replication),
    ]


def check_partitions(cluster: ClusterView, sources: Iterable[str]) -> list[Finding]:
    """Return the findings about partitions without a leader or enough replicas, and about unsafe sources."""
    findings: list[Finding] = []
    for topic in cluster.topics.values():
        findings += _check_replicas(topic)
    for name in sources:
        source = cluster.topics.get(name)
        if source is not None:
            findings += [_of_risk(name, risk) for risk in about_source(name, source.replicas, source.configs)]
    return findings


def _check_number(brokers: int, replication: int) -> list[Finding]:
    if brokers < replication:
        what = f"the cluster has {_count(brokers)}, and the topics need {replication} replicas"
        do = f"add brokers, or set replication = {brokers}"
        return [error("broker", "brokers_too_few", "cluster", what, do)]
    if replication < REPLICAS <= brokers:
        what = f"replication is {replication}, but the cluster has {_count(brokers)}: a lost broker can lose records"
        do = f"set replication = {REPLICAS}, and add replicas with kafka-reassign-partitions"
        return [warning("broker", "replication_low", "replication", what, do)]
    return []


def _check_versions(brokers: Sequence[BrokerView]) -> list[Finding]:
    versions = {broker.id: broker.configs.get(_VERSION) or _KAFKA_4 for broker in brokers if broker.configs}
    findings = []
    old = [id_ for id_, version in versions.items() if (number := _number_of(version)) and number < _OLDEST]
    if old:
        what = f"the version of Kafka's protocol is {versions[old[0]]}, and Signpost needs 2.5 or later"
        findings.append(error("broker", "broker_version_old", _named(old), what, "upgrade the brokers"))
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{id_}: {version}" for id_, version in versions.items())
        what = f"the brokers have different versions ({listed})"
        do = "finish the upgrade of the cluster"
        findings.append(warning("broker", "broker_versions_differ", "cluster", what, do))
    return findings


def _number_of(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def _check_positions(brokers: Sequence[BrokerView]) -> list[Finding]:
    by_risk: dict[Risk, list[int]] = {}
    for broker in brokers:
        for risk in about_brokers(broker.configs):
            by_risk.setdefault(risk, []).append(broker.id)
    return [_of_risk(_named(ids), risk) for risk, ids in by_risk.items()]


def _of_risk(where: str, risk: Risk) -> Finding:
    return warning("broker", _CODES[risk.config], where, risk.problem, risk.remedy)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A configuration entry of brokers: `is_bad` gets its value, `what` is a sentence with `{}` for the value."""

    config: str
    code: FindingCode
    severity: Severity
    is_bad: Callable[[str], bool]
    what: str
    do: str


_RULES: Final = (
    _Rule(
        _UNCLEAN,
        "unclean_election",
        Severity.WARNING,
        lambda value: value == "true",
        f"{_UNCLEAN}={{}}: a replica that lacks acknowledged records or positions may become the leader",
        f"set {_UNCLEAN}=false",
    ),
    _Rule(
        _TRANSACTION,
        "transaction_timeout_low",
        Severity.ERROR,
        lambda value: int(value) < TRANSACTION_TIMEOUT_S * 1_000,
        f"{_TRANSACTION}={{}}: the brokers refuse the transactions of delivery, whose timeout is "
        f"{TRANSACTION_TIMEOUT_S} s",
        f"set {_TRANSACTION} to {MAX_TIMEOUT_S * 1_000} or more",
    ),
    _Rule(
        _TRANSACTION,
        "transaction_timeout_low",
        Severity.WARNING,
        lambda value: TRANSACTION_TIMEOUT_S * 1_000 <= int(value) < MAX_TIMEOUT_S * 1_000,
        f"{_TRANSACTION}={{}}: while the brokers are slow, delivery uses timeouts of up to {MAX_TIMEOUT_S} s",
        f"set {_TRANSACTION} to {MAX_TIMEOUT_S * 1_000} or more",
    ),
    _Rule(
        _CLEANUP,
        "transaction_cleanup_slow",
        Severity.WARNING,
        lambda value: int(value) > _CLEANUP_MS,
        f"{_CLEANUP}={{}}: the open transaction of a killed process blocks readers of its topics for longer",
        f"set {_CLEANUP}={_CLEANUP_MS}",
    ),
)


def _check_configs(brokers: Sequence[BrokerView]) -> list[Finding]:
    findings: list[Finding] = []
    for rule in _RULES:
        bad: dict[str, list[int]] = {}
        for broker in brokers:
            value = broker.configs.get(rule.config)
            if value is not None and rule.is_bad(value):
                bad.setdefault(value, []).append(broker.id)
        findings += [
            Finding(rule.severity, "broker", rule.code, _named(ids), rule.what.format(value), rule.do)
            for value, ids in bad.items()
        ]
    return findings


def _check_internal(cluster: ClusterView, replication: int) -> list[Finding]:
    """Return a finding for each internal topic with fewer replicas than Signpost's own topics."""
    findings = []
    for name in INTERNAL:
        topic = cluster.topics.get(name)
        if topic is not None and topic.replicas < replication:
            what = (
                f"the topic has {_replicas(topic.replicas)}, and Signpost's topics have {replication}: a lost broker "
                "loses or blocks positions and transactions"
            )
            do = "add replicas with kafka-reassign-partitions"
            findings.append(warning("broker", "replicas_few", name, what, do))
    return findings


def _check_replicas(topic: TopicView) -> list[Finding]:
    offline = [one.number for one in topic.partitions if one.leader < 0]
    least = int(topic.configs.get(_IN_SYNC) or 1)
    blocked = [one.number for one in topic.partitions if one.leader >= 0 and one.in_sync < least]
    behind = [one.number for one in topic.partitions if one.leader >= 0 and least <= one.in_sync < one.replicas]
    look = "check that the brokers with its replicas run and respond"
    findings = []
    if offline:
        what = f"{_partitions(offline)} without a leader: nothing can be read or written"
        findings.append(error("topics", "partition_offline", topic.name, what, look))
    if blocked:
        what = f"{_partitions(blocked)} with fewer in-sync replicas than {_IN_SYNC}={least}: nothing can be written"
        findings.append(error("topics", "partition_not_writable", topic.name, what, look))
    if behind:
        what = f"{_partitions(behind)} with replicas that are not in sync"
        findings.append(warning("topics", "replicas_behind", topic.name, what, look))
    return findings


def _partitions(numbers: Sequence[int]) -> str:
    plural = "" if len(numbers) == 1 else "s"
    return f"partition{plural} {some_of([str(number) for number in numbers], 10)}"


def _named(ids: Sequence[int]) -> str:
    plural = "" if len(ids) == 1 else "s"
    return f"broker{plural} {some_of([str(id_) for id_ in ids], 10)}"


def _count(brokers: int) -> str:
    return f"{brokers} broker{'' if brokers == 1 else 's'}"


def _replicas(number: int) -> str:
    return f"{number} replica{'' if number == 1 else 's'}"

"""Warnings about settings of brokers and sources that can lose data; each role logs them when it starts.

Signpost's own topics need no warning: a role does not start while their configuration is wrong (topics.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    ConfigResource,
    ResourceType,
)

from consumers.kafka.admin import TIMEOUT_S, metadata_of, result

RETENTION_MINUTES: Final = 30 * 24 * 60  # the retention of records


class Risk(NamedTuple):
    """A value of a configuration entry that can lose data, and what to do about it. As text it is one sentence."""

    config: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def warnings(admin: AdminClient, sources: Iterable[str]) -> list[str]:
    """Read the configuration of brokers and sources, and return the warnings."""
    present = metadata_of(admin)
    broker = ConfigResource(ResourceType.BROKER, str(min(present.brokers)))
    resources = {topic: ConfigResource(ResourceType.TOPIC, topic) for topic in sources if topic in present.topics}
    futures = admin.describe_configs([broker, *resources.values()], request_timeout=TIMEOUT_S)
    found = {
        (resource.restype, resource.name): _values(result(future, f"the configs of {resource.name}"))
        for resource, future in futures.items()
    }
    risks = about_brokers(found[broker.restype, broker.name])
    for topic in resources:
        replicas = min(len(partition.replicas) for partition in present.topics[topic].partitions.values())
        risks += about_source(topic, replicas, found[ResourceType.TOPIC, topic])
    return [str(risk) for risk in risks]


def about_brokers(configs: Mapping[str, str | None]) -> list[Risk]:
    """Return the risk of brokers that delete positions before records."""
    minutes = configs.get("offsets.retention.minutes")
    if minutes is None or int(minutes) >= RETENTION_MINUTES:
        return []
    problem = (
        f"the brokers delete the positions of a group without members after {int(minutes) / 1440:g} days, but records "
        "stay for 30"
    )
    remedy = f"set offsets.retention.minutes to {RETENTION_MINUTES} or more"
    return [Risk("offsets.retention.minutes", problem, remedy)]


def about_source(topic: str, replicas: int, configs: Mapping[str, str | None]) -> list[Risk]:
    """Return the risks of a replicated source that loses acknowledged events when one broker is lost."""
    if replicas < 2:
        return []
    risks = []
    insync = configs.get("min.insync.replicas")
    if insync is not None and int(insync) < 2:
        problem = (
            f"the source {topic} has {replicas} replicas and min.insync.replicas={insync}, so an event that only one "
            "broker has acknowledged is lost with it"
        )
        risks.append(Risk("min.insync.replicas", problem, "set min.insync.replicas=2"))
    if configs.get("unclean.leader.election.enable") == "true":
        problem = (
            f"the source {topic} allows unclean leader election, so a broker that lacks acknowledged events may take "
            "over"
        )
        risks.append(Risk("unclean.leader.election.enable", problem, "set unclean.leader.election.enable=false"))
    return risks


def _values(entries: Mapping[str, object]) -> dict[str, str | None]:
    return {name: getattr(entry, "value", None) for name, entry in entries.items()}

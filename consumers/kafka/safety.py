"""Warnings about settings of brokers and sources that can lose data; each role logs them when it starts.

Signpost's own topics need no warning: a role does not start while their configuration is wrong (topics.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    ConfigResource,
    ResourceType,
)

from consumers.kafka.admin import TIMEOUT_S, metadata_of, result

RETENTION_MINUTES: Final = 30 * 24 * 60  # the retention of records


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
    sentences = about_brokers(found[broker.restype, broker.name])
    for topic in resources:
        replicas = min(len(partition.replicas) for partition in present.topics[topic].partitions.values())
        sentences += about_source(topic, replicas, found[ResourceType.TOPIC, topic])
    return sentences


def about_brokers(configs: Mapping[str, str | None]) -> list[str]:
    """Warn of brokers that delete positions before records."""
    minutes = configs.get("offsets.retention.minutes")
    if minutes is None or int(minutes) >= RETENTION_MINUTES:
        return []
    sentence = (
        f"the brokers delete the positions of a group without members after {int(minutes) / 1440:g} days, but records "
        f"stay for 30: set offsets.retention.minutes to {RETENTION_MINUTES} or more"
    )
    return [sentence]


def about_source(topic: str, replicas: int, configs: Mapping[str, str | None]) -> list[str]:
    """Warn of a replicated source that loses acknowledged events when one broker is lost."""
    if replicas < 2:
        return []
    sentences = []
    insync = configs.get("min.insync.replicas")
    if insync is not None and int(insync) < 2:
        sentences.append(
            f"the source {topic} has {replicas} replicas and min.insync.replicas={insync}: an event that only one "
            "broker has acknowledged is lost with it; set it to 2"
        )
    if configs.get("unclean.leader.election.enable") == "true":
        sentences.append(
            f"the source {topic} allows unclean leader election: a broker that lacks acknowledged events may take "
            "over; set unclean.leader.election.enable=false"
        )
    return sentences


def _values(entries: Mapping[str, object]) -> dict[str, str | None]:
    return {name: getattr(entry, "value", None) for name, entry in entries.items()}

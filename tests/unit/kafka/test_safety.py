"""Unsafe settings of brokers and topics are reported at every start; own topics are created without them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.kafka.safety import about_brokers, about_source
from schemas.records.topics import TopicNames, own_topics

SAFE = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize(("minutes", "warned"), [("10080", True), ("43199", True), ("43200", False), (None, False)])
def test_short_retention_of_positions_is_reported(minutes: str | None, warned: bool) -> None:
    """A group that was away for less than the retention of records must find its positions again."""
    sentences = about_brokers({"offsets.retention.minutes": minutes})
    assert bool(sentences) is warned
    assert all("set offsets.retention.minutes to 43200 or more" in str(sentence) for sentence in sentences)


def test_warning_names_the_retention_of_positions() -> None:
    """Kafka's default is seven days."""
    assert "after 7 days" in str(about_brokers({"offsets.retention.minutes": "10080"})[0])


@pytest.mark.parametrize(
    ("replicas", "configs", "parts"),
    [
        (3, SAFE, []),
        (3, SAFE | {"min.insync.replicas": "1"}, ["min.insync.replicas=1"]),
        (2, SAFE | {"unclean.leader.election.enable": "true"}, ["unclean leader election"]),
        (
            3,
            {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"},
            ["min.insync.replicas=1", "unclean leader election"],
        ),
        (1, {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}, []),
    ],
)
def test_unsafe_replicated_source_is_reported(replicas: int, configs: dict[str, str], parts: list[str]) -> None:
    """A replicated source that can lose events is reported; a source on one broker is not."""
    sentences = [str(risk) for risk in about_source("crm", replicas, configs)]
    assert len(sentences) == len(parts)
    for sentence, part in zip(sentences, parts, strict=True):
        assert "the source crm " in sentence
        assert part in sentence


@pytest.mark.parametrize(("replication", "safe"), [(3, True), (2, True), (1, False)])
def test_own_replicated_topics_keep_acknowledged_records(replication: int, safe: bool) -> None:
    """With replication, every own topic needs two in-sync replicas and has clean leader election."""
    topics = own_topics(TopicNames(), [timedelta(0)], [], partitions=3, replication=replication)
    for topic in topics:
        assert (SAFE.items() <= topic.configs.items()) is safe, topic.name

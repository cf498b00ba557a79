"""Settings under which something can be lost are said at every start, and own topics are never made with them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.kafka.safety import about_brokers, about_source
from schemas.records.topics import TopicNames, own_topics

SAFE = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


@pytest.mark.parametrize(("minutes", "warned"), [("10080", True), ("43199", True), ("43200", False), (None, False)])
def test_brokers_that_forget_positions_before_records_are_warned_of(minutes: str | None, warned: bool) -> None:
    """A group that was away for less than records stay is to find its positions again."""
    sentences = about_brokers({"offsets.retention.minutes": minutes})
    assert bool(sentences) is warned
    assert all("set offsets.retention.minutes to 43200 or more" in sentence for sentence in sentences)


def test_the_warning_says_for_how_long_positions_are_kept() -> None:
    """The default of Kafka is seven days."""
    assert "after 7 days" in about_brokers({"offsets.retention.minutes": "10080"})[0]


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
def test_replicated_sources_that_can_lose_events_are_warned_of(
    replicas: int, configs: dict[str, str], parts: list[str]
) -> None:
    """A source on one broker can lose everything anyway, and whoever made it so knows."""
    sentences = about_source("crm", replicas, configs)
    assert len(sentences) == len(parts)
    for sentence, part in zip(sentences, parts, strict=True):
        assert "the source crm " in sentence
        assert part in sentence


@pytest.mark.parametrize(("replication", "safe"), [(3, True), (2, True), (1, False)])
def test_own_replicated_topics_keep_what_was_acknowledged(replication: int, safe: bool) -> None:
    """On more than one broker every topic of our own needs two in sync, and a clean leader; roles refuse any other."""
    topics = own_topics(TopicNames(), [timedelta(0)], [], partitions=3, replication=replication)
    for topic in topics:
        assert (SAFE.items() <= topic.configs.items()) is safe, topic.name

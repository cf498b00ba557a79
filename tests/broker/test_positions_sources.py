"""Recorded source positions, and routers whose positions are lost."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its package names no __all__

from consumers.kafka.positions import CommittedPositions
from consumers.kafka.source_positions import PositionsBySource, SourcesTopic
from consumers.kafka.topics import router_group
from consumers.router.source_positions import EVERY_S, FIRST_AFTER_S, SourcePositionsRecorder
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from schemas.records.source import SourcePositions
from tests.support.installation import Installation, RunningRouter, event, subscription, value_of
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


def all_source_positions(here: Installation) -> PositionsBySource:
    return SourcesTopic(here.settings.kafka_properties(), here.admin, here.names).read()


def source_positions(here: Installation) -> SourcePositions:
    recorded = all_source_positions(here)[here.events_topic]
    assert recorded is not None
    return recorded


def lose_positions(here: Installation) -> None:
    """Delete the group with all its positions, as brokers do after `offsets.retention.minutes` without a member."""
    group = router_group(here.names)
    here.admin.delete_consumer_groups([group])[group].result(30)


def delete_source_positions(here: Installation) -> None:
    """Delete the record on `sources`: older versions wrote none."""
    here.produce(here.names.sources, None, here.events_topic.encode(), partition=_partition(here))
    assert all_source_positions(here) == {}


def _partition(here: Installation) -> int:
    ends = end_offsets(here.bootstrap_servers, here.names.sources)
    return next(partition for partition, end in ends.items() if end)


def started(here: Installation) -> RunningRouter:
    with here.router() as router:
        router.wait_ready()
    return router


def test_start_of_a_source_is_noted_before_it_is_read(here: Installation) -> None:
    """When a router is ready, its new sources are noted: their `start_at` and their first positions."""
    here.publish([event("old")])
    before = time.time_ns() // 1_000_000
    with here.router({"start_at": "now"}) as router:
        router.wait_ready()
        recorded = source_positions(here)

    assert recorded.topic == here.events_topic
    assert recorded.start_at == "now"
    assert recorded.first == end_offsets(here.bootstrap_servers, here.events_topic)
    assert before <= recorded.started_at_ms <= time.time_ns() // 1_000_000
    assert recorded.last_at_ms is None


def test_source_with_lost_positions_stops_the_router(here: Installation) -> None:
    """The router guesses and commits nothing. It exits with an error that names the command."""
    here.subscribe(subscription("one"))
    started(here)
    lose_positions(here)
    here.publish([event("unread")])

    for _ in range(2):
        with here.router({"start_at": "now"}) as router:
            error = router.wait_ended()
        assert isinstance(error, Unavailable)
        assert f"the source {here.events_topic}, recorded on " in str(error)
        assert f"`signpost positions set {here.events_topic} --to earliest|latest|TIME` sets them" in str(error)
    assert here.positions() == {}
    assert here.jobs() == []


def test_source_with_positions_and_no_note_gets_one(here: Installation) -> None:
    """A source of an older version continues, and its positions are recorded. Later lost positions are detected."""
    here.subscribe(subscription("one"))
    here.publish(event(f"evt_{n}") for n in range(5))
    with here.router():
        here.wait_routed()
    delete_source_positions(here)

    started(here)

    recorded = source_positions(here)
    assert (recorded.start_at, recorded.first) == (None, here.positions())
    assert len(here.jobs()) == 5
    lose_positions(here)
    with here.router() as router:
        assert isinstance(router.wait_ended(), Unavailable)


def test_topics_apply_upgrades_an_older_installation(here: Installation) -> None:
    """Without the topic `sources` a router names the command that creates it. Then its sources continue."""
    here.subscribe(subscription("one"))
    here.publish(event(f"evt_{n}") for n in range(5))
    with here.router():
        here.wait_routed()
    here.admin.delete_topics([here.names.sources])[here.names.sources].result(30)
    wait_until(lambda: here.names.sources not in here.admin.list_topics(timeout=10).topics, what="the topic is deleted")
    with here.router() as router:
        error = router.wait_ended()
    assert isinstance(error, Unavailable)
    assert f"create {here.names.sources}" in str(error)
    assert "run `signpost topics apply`" in str(error)

    here.make_topics()
    started(here)

    assert source_positions(here).first == here.positions()
    assert len(here.jobs()) == 5


def test_last_positions_are_noted_hourly(here: Installation) -> None:
    """A router records the positions of its sources a minute after its start, and then every hour."""
    here.subscribe(subscription("one"))
    here.publish(event(f"evt_{n}") for n in range(9))
    with here.router():
        here.wait_routed()
    positions = CommittedPositions(here.settings.kafka_properties(), here.admin, router_group(here.names))
    minutes = iter(range(1, 100))
    noting = SourcePositionsRecorder(
        SourcesTopic(here.settings.kafka_properties(), here.admin, here.names),
        positions,
        lambda: 60_000 * next(minutes),
    )
    owned = [(here.events_topic, 0), (here.events_topic, 1)]

    def noted_at(now_s: float) -> int | None:
        noting.poll(now_s, owned)
        return source_positions(here).last_at_ms

    assert noted_at(0.0) is None
    assert noted_at(FIRST_AFTER_S - 1) is None
    assert wait_until(lambda: noted_at(FIRST_AFTER_S), what="the positions are noted") == 60_000
    assert source_positions(here).last == end_offsets(here.bootstrap_servers, here.events_topic)
    again_s = FIRST_AFTER_S + EVERY_S
    wait_until(lambda: noted_at(again_s) == 120_000, what="the positions are noted again")
    assert sum(source_positions(here).first.values()) == 0


def test_noted_partition_without_a_position_is_lost(here: Installation) -> None:
    """A noted partition without a position stops the router. A partition added later starts at its beginning."""
    here.subscribe(subscription("one"))
    started(here)
    here.admin.create_partitions([NewPartitions(here.events_topic, 4)])[here.events_topic].result(30)
    wait_until(lambda: len(end_offsets(here.bootstrap_servers, here.events_topic)) == 4, what="the partition is there")
    here.produce(here.events_topic, value_of(event("late")), partition=3)
    with here.router({"start_at": "now"}):
        here.wait_routed()
    assert [job.event_id for job in here.jobs()] == ["late"]

    lose_positions(here)
    here.commit({0: 0, 1: 0, 3: 1})
    with here.router() as router:
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert "(partitions 2)" in str(error)


def test_unreadable_note_counts_as_a_note(here: Installation) -> None:
    """A source with a record of a later version continues, and does not count as new if its positions are lost."""
    here.subscribe(subscription("one"))
    started(here)
    here.produce(
        here.names.sources, b"\xc3\x01 of a later version", here.events_topic.encode(), partition=_partition(here)
    )
    started(here)
    assert all_source_positions(here) == {here.events_topic: None}

    lose_positions(here)
    with here.router() as router:
        assert isinstance(router.wait_ended(), Unavailable)

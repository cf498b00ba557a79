"""Positions of the router: start, continue, lost or truncated."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    NewPartitions,
)

from consumers.kafka.source_positions import SourcesTopic
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from schemas.records.health import decode_operation
from tests.support.installation import Installation, Stale, event, subscription, value_of
from tests.support.topics import create_topic, end_offsets, read_topic
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


@pytest.mark.parametrize(("start_at", "expected"), [("now", {"after"}), ("earliest", {"old", "new", "after"})])
def test_new_source_starts_at_start_at(broker: Broker, prefix: str, start_at: str, expected: set[str]) -> None:
    """`now` routes later events only, `earliest` all events. The first positions are committed at once."""
    here = Installation(broker.bootstrap_servers, prefix, start_at=start_at).make_topics()
    here.subscribe(subscription("one"))
    here.publish([event("old"), event("new")])
    with here.router() as router:
        router.wait_ready()
        assert set(here.positions()) == {0, 1, 2}, "committed before anything else"
        here.publish([event("after")])
        here.wait_routed()

    assert {job.event_id for job in here.jobs()} == expected


def test_backfill_of_a_new_source_is_not_late(here: Installation) -> None:
    """Events from before the start of their source count from its start, later events from their append."""
    here.subscribe(subscription("one"))
    here.publish([event("old")])
    with here.router():
        here.wait_routed()
    here.publish([event("new")])
    with here.router({"start_at": "now"}):
        here.wait_routed()

    recorded = SourcesTopic(here.settings.kafka_properties(), here.admin, here.names).read()[here.events_topic]
    assert recorded is not None
    records = read_topic(here.bootstrap_servers, here.events_topic)
    appended_ms = {(record.partition(), record.offset()): record.timestamp()[1] for record in records}
    found = {job.event_id: job for job in here.jobs()}
    old, new = found["old"], found["new"]
    assert old.appended_at_ms == recorded.started_at_ms > appended_ms[old.source_partition, old.source_offset]
    assert new.appended_at_ms == appended_ms[new.source_partition, new.source_offset] > recorded.started_at_ms


def test_new_source_starts_at_a_time(broker: Broker, prefix: str) -> None:
    """With a time, each partition starts at its first event that is not older."""
    here = Installation(broker.bootstrap_servers, prefix).make_topics()
    here.subscribe(subscription("one"))
    here.publish(event(f"old-{n}") for n in range(9))
    last_old = max(m.timestamp()[1] for m in read_topic(here.bootstrap_servers, here.events_topic))
    wait_until(lambda: datetime.now(UTC).timestamp() * 1_000 > last_old + 2, what="the clock moves on")
    start = datetime.now(UTC)
    here.publish(event(f"new-{n}") for n in range(9))
    with here.router({"start_at": start}):
        here.wait_routed()

    assert {job.event_id for job in here.jobs()} == {f"new-{n}" for n in range(9)}


def test_started_source_continues_at_its_position(here: Installation) -> None:
    """The next router routes events published while none ran, whatever `start_at` says, and repeats none."""
    here.subscribe(subscription("one"))
    here.publish(event(f"first-{n}") for n in range(20))
    with here.router():
        here.wait_routed()
    here.publish(event(f"second-{n}") for n in range(20))
    with here.router({"start_at": "now"}):
        here.wait_routed()

    assert len(here.jobs()) == 40
    assert len({job.job_id for job in here.jobs()}) == 40


def test_partition_added_later_starts_at_its_beginning(here: Installation) -> None:
    """All events on a partition added to a started source are routed, even with `start_at` `now`."""
    here.subscribe(subscription("one"))
    with here.router({"start_at": "now"}):
        wait_until(lambda: len(here.positions()) == 3, what="the source is started")
    here.admin.create_partitions([NewPartitions(here.events_topic, 4)])[here.events_topic].result(30)
    wait_until(lambda: len(end_offsets(here.bootstrap_servers, here.events_topic)) == 4, what="the partition is there")
    here.produce(here.events_topic, value_of(event("late")), partition=3)
    with here.router({"start_at": "now"}):
        here.wait_routed()

    assert [job.event_id for job in here.jobs()] == ["late"]


def reported_truncations(here: Installation) -> list[tuple[str | None, int | None, int | None, int | None]]:
    """Return topic, partition, first and last offset of each range reported on `operations`."""
    values = [message.value() for message in read_topic(here.bootstrap_servers, here.names.operations)]
    found = [decode_operation(value) for value in values]
    return [
        (one.topic, one.partition, one.from_offset, one.to_offset) for one in found if one.kind == "partition_truncated"
    ]


def test_truncated_position_moves_to_the_start_of_the_log(
    here: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events deleted while no router ran are counted, logged and reported as a range. The remaining ones are routed."""
    here.subscribe(subscription("one"))
    with here.router():
        wait_until(lambda: len(here.positions()) == 3, what="the source is started")
    for n in range(10):
        here.produce(here.events_topic, value_of(event(f"evt_{n}")), partition=0)
    here.delete_events(before=4)
    with here.router() as router:
        here.wait_routed()
        assert router.metric("signpost_router_truncated_records_total") == 4

    assert [job.event_id for job in here.jobs()] == [f"evt_{n}" for n in range(4, 10)]
    assert re.search(r"partition\.truncated .*lost_from=0 .*lost_to=3 ", capsys.readouterr().out)
    assert reported_truncations(here) == [(here.events_topic, 0, 0, 3)]


def test_position_beyond_the_end_of_the_log_stops_the_router(here: Installation) -> None:
    """A router whose position is beyond the end of the log exits with an error and commits nothing."""
    group = f"{here.settings.prefix}router"
    offsets = [TopicPartition(here.events_topic, n, 50) for n in range(3)]
    here.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])[group].result(30)

    with here.router() as router:
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert "after the end of the log (0)" in str(error)
    assert here.positions() == {0: 50, 1: 50, 2: 50}


def test_missing_source_topic_is_named(broker: Broker, prefix: str) -> None:
    """The router exits with an error if a configured source topic does not exist."""
    sources = [{"topic": f"{prefix}crm", "sender": "zenoo"}]
    here = Installation(broker.bootstrap_servers, prefix, sources=sources).make_topics()

    with here.router() as router:
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert f"{prefix}crm does not exist" in str(error)


def test_any_topic_can_be_a_source(broker: Broker, prefix: str) -> None:
    """A topic of any name and number of partitions is routed for the sender that `sources` gives it."""
    sources = [{"topic": f"{prefix}crm", "sender": "zenoo"}]
    here = Installation(broker.bootstrap_servers, prefix, sources=sources).make_topics()
    create_topic(broker.bootstrap_servers, f"{prefix}crm", 5)
    here.events_topic = f"{prefix}crm"
    here.subscribe(subscription("one"))
    here.publish(event(f"evt_{n}") for n in range(50))
    with here.router():
        here.wait_routed()

    assert {job.source_topic for job in here.jobs()} == {f"{prefix}crm"}
    assert len(here.jobs()) == 50


def test_running_router_continues_after_truncation(here: Installation) -> None:
    """A running router whose next record is deleted continues at the start of the log, and counts the lost records."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        router.role.loop._table = Stale(router.role.table)
        here.produce(here.events_topic, value_of(event("first")), partition=1)
        wait_until(lambda: router.role.loop._source._suspended, what="the source is suspended")
        for n in range(10):
            here.produce(here.events_topic, value_of(event(f"evt_{n}")), partition=0)
        here.delete_events(before=4)
        router.role.loop._table = router.role.table
        here.wait_routed()
        assert router.metric("signpost_router_truncated_records_total") == 4
    assert reported_truncations(here) == [(here.events_topic, 0, 0, 3)]

    assert {job.event_id for job in here.jobs()} == {"first", *(f"evt_{n}" for n in range(4, 10))}

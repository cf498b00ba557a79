"""Where the router starts, goes on, and what it does when its position is lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    NewPartitions,
)

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
def test_a_new_source_starts_where_the_setting_says(
    broker: Broker, prefix: str, start_at: str, expected: set[str]
) -> None:
    """`now` takes what is published from then on, `earliest` all that is there; the choice is committed at once."""
    here = Installation(broker.bootstrap_servers, prefix, start_at=start_at).make_topics()
    here.subscribe(subscription("one"))
    here.publish([event("old"), event("new")])
    with here.router() as router:
        router.wait_ready()
        assert set(here.positions()) == {0, 1, 2}, "committed before anything else"
        here.publish([event("after")])
        here.wait_routed()

    assert {job.event_id for job in here.jobs()} == expected


def test_a_new_source_starts_at_a_time(broker: Broker, prefix: str) -> None:
    """With a time, it starts at the first event that is not older, in each partition."""
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


def test_a_started_source_goes_on_where_it_was(here: Installation) -> None:
    """What came while no router ran is routed by the next, whatever start_at says, and nothing twice."""
    here.subscribe(subscription("one"))
    here.publish(event(f"first-{n}") for n in range(20))
    with here.router():
        here.wait_routed()
    here.publish(event(f"second-{n}") for n in range(20))
    with here.router({"start_at": "now"}):
        here.wait_routed()

    assert len(here.jobs()) == 40
    assert len({job.job_id for job in here.jobs()}) == 40


def test_a_partition_that_was_added_later_starts_at_its_beginning(here: Installation) -> None:
    """Events on a partition that a started source got later are all routed, though start_at is `now`."""
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
    """Return topic, partition, first and last offset of each range that `operations` tells of."""
    values = [message.value() for message in read_topic(here.bootstrap_servers, here.names.operations)]
    found = [decode_operation(value) for value in values]
    return [
        (one.topic, one.partition, one.from_offset, one.to_offset) for one in found if one.kind == "partition_truncated"
    ]


def test_a_position_that_retention_overtook_goes_on_at_the_start_of_the_log(
    here: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was lost while no router ran is counted and logged as a range, and what is left is routed."""
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


def test_a_position_behind_the_end_of_the_log_is_not_guessed(here: Installation) -> None:
    """A router whose position is not in the log any more says so and ends."""
    group = f"{here.settings.prefix}router"
    offsets = [TopicPartition(here.events_topic, n, 50) for n in range(3)]
    here.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])[group].result(30)

    with here.router() as router:
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert "after the end of the log (0)" in str(error)
    assert here.positions() == {0: 50, 1: 50, 2: 50}


def test_a_source_that_is_not_there_is_named(broker: Broker, prefix: str) -> None:
    """A configured source topic that does not exist is no reason to wait in silence."""
    sources = [{"topic": f"{prefix}crm", "sender": "zenoo"}]
    here = Installation(broker.bootstrap_servers, prefix, sources=sources).make_topics()

    with here.router() as router:
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert f"{prefix}crm does not exist" in str(error)


def test_any_topic_can_be_a_source(broker: Broker, prefix: str) -> None:
    """A team's own topic, with its own number of partitions, is routed as its sender's."""
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


def test_a_position_that_retention_overtakes_while_it_runs(here: Installation) -> None:
    """A running router whose next record is removed goes on at the start of the log, and counts what was lost."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        router.role.loop._table = Stale(router.role.table)
        here.produce(here.events_topic, value_of(event("first")), partition=1)
        wait_until(lambda: router.role.loop._source._suspended, what="it reads nothing ahead")
        for n in range(10):
            here.produce(here.events_topic, value_of(event(f"evt_{n}")), partition=0)
        here.delete_events(before=4)
        router.role.loop._table = router.role.table
        here.wait_routed()
        assert router.metric("signpost_router_truncated_records_total") == 4
    assert reported_truncations(here) == [(here.events_topic, 0, 0, 3)]

    assert {job.event_id for job in here.jobs()} == {"first", *(f"evt_{n}" for n in range(4, 10))}

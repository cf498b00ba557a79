"""The router on a real broker: what it makes of events, and what stops it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from consumers.table import SubscriptionTable
from deploy.local.broker import Broker
from schemas.delivery import event_id as made_id
from schemas.delivery import job_id
from schemas.errors import Unavailable
from schemas.event import Event, encode_event
from schemas.partitioner import partition_of
from schemas.subscription import Subscription, encode_subscription
from schemas.topics import FIRST
from tests.support.installation import ZENOO, Installation, event, subscription
from tests.support.topics import create_topic, end_offsets, read_topic
from tests.support.waiting import wait_until


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


def value_of(one: Event) -> bytes:
    return encode_event(ZENOO, one)


def alter(here: Installation, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    here.admin.incremental_alter_configs([resource])[resource].result(30)


def customer_on(partition: int, partitions: int = 3) -> str:
    return next(name for n in range(1_000) if partition_of(name := f"customer-{n}", partitions) == partition)


def test_an_event_becomes_a_job_for_each_subscription_that_takes_it(here: Installation) -> None:
    """Every matching subscription of the event's customer gets a job with the rendered body, and nobody else."""
    here.subscribe(
        subscription("all"),
        subscription("group", event_types=["case.*"], activation=3),
        subscription("exact", event_types=["case.created", "case.*"]),
        subscription("other-type", event_types=["alert.*"]),
        subscription("other-customer", customer_id="globex"),
        subscription("other-sender", sender="onboarding"),
    )
    here.publish([event("evt_1")])
    with here.router():
        here.wait_routed()

    jobs = {job.subscription_id: job for job in here.jobs()}

    assert sorted(jobs) == ["all", "exact", "group"]
    job = jobs["group"]
    assert job.body == ZENOO.render(event("evt_1"))
    assert job.job_id == job_id(job.source_topic, job.source_partition, job.source_offset, "group")
    assert (job.event_id, job.event_type, job.customer_id, job.sender) == ("evt_1", "case.created", "acme", "zenoo")
    assert (job.attempt, job.run, job.due_at_ms, job.first_offset, job.activation) == (1, 0, 0, -1, 3)
    assert job.appended_at_ms > 0
    assert (job.subscription_partition, job.subscription_offset) == (partition_of("acme", 3), 1)


def test_jobs_of_a_subscription_are_on_the_partition_that_every_tier_has_for_it(here: Installation) -> None:
    """The key of a job is its subscription, hashed by murmur2."""
    here.subscribe(*(subscription(f"sub-{n}") for n in range(12)))
    here.publish([event("evt_1")])
    with here.router():
        here.wait_routed()

    records = here.job_records()

    assert len(records) == 12
    for record in records:
        assert record.partition() == partition_of((record.key() or b"").decode(), 3)


def test_a_full_table_is_read_before_the_first_event(here: Installation) -> None:
    """A router without any position that finds thousands of subscriptions and events misses no match."""
    here.subscribe(*(subscription(f"sub-{number}", customer_id=f"customer-{number}") for number in range(2_000)))
    here.publish(event(f"evt_{number}", f"customer-{number}") for number in range(2_000))
    with here.router():
        here.wait_routed()

    assert {(job.event_id[4:], job.subscription_id[4:]) for job in here.jobs()} == {
        (str(number), str(number)) for number in range(2_000)
    }


def test_paused_and_deleted_subscriptions_get_no_jobs(here: Installation) -> None:
    """No job for who is paused (counted) or deleted; the events pass, for the others and for good."""
    here.subscribe(subscription("active"), subscription("paused", paused=True), subscription("deleted"))
    here.write_subscription("deleted", None, "acme")
    here.publish(event(f"evt_{n}") for n in range(10))
    with here.router() as router:
        here.wait_routed()
        assert router.metric("signpost_router_withheld_total") == 10
        assert router.metric("signpost_router_jobs_total", sender="zenoo", event_type="case.created") == 10

    assert Counter(job.subscription_id for job in here.jobs()) == {"active": 10}


def test_changes_are_followed(here: Installation) -> None:
    """What is created, paused and deleted while the router runs counts for the events after it."""
    with here.router() as router:
        router.wait_ready()
        here.publish([event("before")])
        here.wait_routed()
        here.subscribe(subscription("one"))
        router.wait_knows("one")
        here.publish([event("created")])
        here.wait_routed()
        here.write_subscription("one", None, "acme")
        router.wait_knows("one", known=False)
        here.publish([event("deleted")])
        here.wait_routed()

    assert [job.event_id for job in here.jobs()] == ["created"]


@pytest.mark.decision("Z17")
def test_an_event_without_an_id_gets_the_same_one_each_time_it_is_read(here: Installation) -> None:
    """The id that the router gives follows from topic, partition and offset."""
    here.subscribe(subscription("one"))
    without = event("")
    here.publish([without])
    with here.router():
        here.wait_routed()

    (job,) = here.jobs()

    assert job.event_id == made_id(job.source_topic, job.source_partition, job.source_offset)
    assert job.event_id.encode() in job.body


@pytest.mark.decision("Z25")
def test_a_body_that_is_too_large_is_one_dead_letter(broker: Broker, prefix: str) -> None:
    """However many subscriptions take it: the event is dead once, as body_too_large, with its bytes."""
    here = Installation(broker.bootstrap_servers, prefix, max_body=1_024).make_topics()
    here.subscribe(*(subscription(f"sub-{n}") for n in range(3)))
    large = event("large")
    large.data = {**large.data, "entity_name": "x" * 1_100}
    here.publish([event("small"), large])
    with here.router() as router:
        here.wait_routed()
        assert router.metric("signpost_poison_records_total", reason="body_too_large") == 1

    (letter,) = here.dead()

    assert (letter.reason, letter.key) == ("body_too_large", b"large")
    assert b"x" * 1_100 in (letter.value or b"")
    assert Counter(job.event_id for job in here.jobs()) == {"small": 3}


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
        assert router.metric("signpost_router_overtaken_records_total") == 4

    assert [job.event_id for job in here.jobs()] == [f"evt_{n}" for n in range(4, 10)]
    assert re.search(r"router\.overtaken .*first_lost=0 .*last_lost=3 ", capsys.readouterr().out)


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


def test_an_unusable_subscription_stops_its_customer_until_it_is_mended(here: Installation) -> None:
    """Events of a customer one of whose subscriptions cannot be read wait, others pass, and nothing is lost."""
    here.subscribe(subscription("good"), subscription("globex", customer_id="globex"))
    # It can be decoded, so the customer is known; but its key is not its id.
    here.write_subscription("broken", encode_subscription(subscription("another-id")), "acme")
    acme = [event(f"acme_{n}", "acme") for n in range(5)]
    globex = [event(f"globex_{n}", "globex") for n in range(5)]
    for one in globex:
        here.produce(here.events_topic, value_of(one), partition=0)
    for one in acme:
        here.produce(here.events_topic, value_of(one), partition=1)
    with here.router() as router:
        reason = router.wait_not_ready("acme")
        assert "broken" in reason
        wait_until(lambda: len(here.jobs()) == 5, what="the other customer's events are routed")
        assert {job.subscription_id for job in here.jobs()} == {"globex"}
        assert router.role.loop.not_ready() is not None
        here.subscribe(subscription("unrelated", customer_id="initech"))
        router.wait_knows("unrelated")
        assert router.role.loop.not_ready() is not None, "only mending it helps"

        here.subscribe(subscription("broken"))
        here.wait_routed()
        router.wait_ready()

    jobs = Counter((job.event_id, job.subscription_id) for job in here.jobs())
    assert jobs == Counter(
        [(one.event_id, "globex") for one in globex]
        + [(one.event_id, id_) for one in acme for id_ in ("good", "broken")]
    )


def test_an_unusable_subscription_of_nobody_knows_whom_stops_its_partition(here: Installation) -> None:
    """Where not even the customer can be read, every customer of that partition waits, until the record is deleted."""
    mine, other = customer_on(0), customer_on(1)
    here.subscribe(subscription("mine", customer_id=mine), subscription("other", customer_id=other))
    here.write_subscription("broken", b"not a record", mine)
    here.produce(here.events_topic, value_of(event("mine", mine)), partition=0)
    here.produce(here.events_topic, value_of(event("other", other)), partition=1)
    with here.router() as router:
        router.wait_not_ready(mine)
        wait_until(lambda: [job.event_id for job in here.jobs()] == ["other"], what="the other partition's pass")
        here.write_subscription("broken", None, mine)
        here.wait_routed()
        router.wait_ready()

    assert sorted(job.event_id for job in here.jobs()) == ["mine", "other"]


def test_an_unusable_record_after_a_good_one_stops_nothing(here: Installation) -> None:
    """The last good record of a subscription counts on."""
    here.subscribe(subscription("one"))
    here.write_subscription("one", b"not a record", "acme")
    here.publish([event("evt_1")])
    with here.router() as router:
        here.wait_routed()
        router.wait_ready()

    assert [job.subscription_id for job in here.jobs()] == ["one"]


def test_two_routers_share_the_partitions_and_route_each_event_once(here: Installation) -> None:
    """A second router takes some of the partitions over; nothing is lost or repeated by that."""
    here.subscribe(subscription("one"))
    with here.router() as first:
        first.wait_ready()
        here.publish(event(f"a-{n}") for n in range(500))
        with here.router() as second:
            second.wait_ready()
            here.publish(event(f"b-{n}") for n in range(500))
            here.wait_routed()
            assert second.metric("signpost_router_jobs_total", sender="zenoo", event_type="case.created") > 0
        here.publish(event(f"c-{n}") for n in range(500))
        here.wait_routed()

    jobs = Counter(job.event_id for job in here.jobs())
    assert jobs == Counter(f"{part}-{n}" for part in "abc" for n in range(500))


def test_a_refusal_while_it_runs_ends_the_router_without_a_commit(here: Installation) -> None:
    """Failures of the idempotent producer arrive though successes are not reported: nothing is committed behind one."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        alter(here, here.names.jobs(FIRST), "max.message.bytes", "100")
        before = here.positions()
        here.publish([event("evt_1")])
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert "failed for good" in str(error)
    assert here.positions() == before


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


class Stale:
    """A table that cannot say that it knows all, as one whose broker does not answer."""

    def __init__(self, table: SubscriptionTable[Subscription]) -> None:
        self._table = table
        self.current = True

    def is_fresh(self, now_ms: int) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._table)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


def test_nothing_is_routed_while_the_table_may_lack_something(here: Installation) -> None:
    """Events wait, with the router standing in its group, until the table is fresh again."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        router.role.loop._table = Stale(router.role.table)
        router.wait_not_ready("do not say whether all subscriptions have been read")
        here.publish(event(f"evt_{n}") for n in range(3_000))
        wait_until(lambda: router.role.loop._source._standing, what="it stands, and stays in its group")
        assert here.jobs() == []
        router.role.loop._table = router.role.table
        here.wait_routed()

    assert Counter(job.event_id for job in here.jobs()) == Counter(f"evt_{n}" for n in range(3_000))


def test_a_position_that_retention_overtakes_while_it_runs(here: Installation) -> None:
    """A running router whose next record is removed goes on at the start of the log, and counts what was lost."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        router.role.loop._table = Stale(router.role.table)
        here.produce(here.events_topic, value_of(event("first")), partition=1)
        wait_until(lambda: router.role.loop._source._standing, what="it reads nothing ahead")
        for n in range(10):
            here.produce(here.events_topic, value_of(event(f"evt_{n}")), partition=0)
        here.delete_events(before=4)
        router.role.loop._table = router.role.table
        here.wait_routed()
        assert router.metric("signpost_router_overtaken_records_total") == 4

    assert {job.event_id for job in here.jobs()} == {"first", *(f"evt_{n}" for n in range(4, 10))}

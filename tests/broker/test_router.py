"""The router on a real broker: events become jobs."""

from __future__ import annotations

from collections import Counter

import pytest

from deploy.dev.broker import Broker
from schemas.records.delivery import event_id as derived_id
from schemas.records.delivery import job_id
from schemas.records.partitioner import partition_of
from tests.support.installation import ZENOO, Installation, event, subscription


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


def test_event_becomes_a_job_for_each_matching_subscription(here: Installation) -> None:
    """Each matching subscription of the event's customer gets one job with the rendered body, and no other does."""
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


def test_jobs_are_partitioned_by_subscription(here: Installation) -> None:
    """The partition of a job is the murmur2 hash of its key, the subscription id."""
    here.subscribe(*(subscription(f"sub-{n}") for n in range(12)))
    here.publish([event("evt_1")])
    with here.router():
        here.wait_routed()

    records = here.job_records()

    assert len(records) == 12
    for record in records:
        assert record.partition() == partition_of((record.key() or b"").decode(), 3)


@pytest.mark.promise(1)
def test_whole_table_is_read_before_the_first_event(here: Installation) -> None:
    """A new router that finds thousands of subscriptions and events misses no match."""
    here.subscribe(*(subscription(f"sub-{number}", customer_id=f"customer-{number}") for number in range(2_000)))
    here.publish(event(f"evt_{number}", f"customer-{number}") for number in range(2_000))
    with here.router():
        here.wait_routed()

    assert {(job.event_id[4:], job.subscription_id[4:]) for job in here.jobs()} == {
        (str(number), str(number)) for number in range(2_000)
    }


def test_paused_and_deleted_subscriptions_get_no_jobs(here: Installation) -> None:
    """Paused subscriptions (counted as withheld) and deleted ones get no jobs. The others get theirs."""
    here.subscribe(subscription("active"), subscription("paused", paused=True), subscription("deleted"))
    here.write_subscription("deleted", None, "acme")
    here.publish(event(f"evt_{n}") for n in range(10))
    with here.router() as router:
        here.wait_routed()
        assert router.metric("signpost_router_withheld_total") == 10
        assert router.metric("signpost_router_jobs_total", sender="zenoo", event_type="case.created") == 10

    assert Counter(job.subscription_id for job in here.jobs()) == {"active": 10}


@pytest.mark.promise(7)
def test_changes_of_subscriptions_apply_to_later_events(here: Installation) -> None:
    """Subscriptions created and deleted while the router runs count for later events."""
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
def test_event_without_an_id_gets_a_derived_id(here: Installation) -> None:
    """The id is derived from topic, partition and offset."""
    here.subscribe(subscription("one"))
    here.publish([event("")])
    with here.router():
        here.wait_routed()

    (job,) = here.jobs()

    assert job.event_id == derived_id(job.source_topic, job.source_partition, job.source_offset)
    assert job.event_id.encode() in job.body


@pytest.mark.decision("Z25")
def test_too_large_body_is_one_dead_letter(broker: Broker, prefix: str) -> None:
    """An event that renders too large is one dead letter (`body_too_large`) with its bytes, whatever its fan-out."""
    here = Installation(broker.bootstrap_servers, prefix, max_body=1_024).make_topics()
    here.subscribe(*(subscription(f"sub-{n}") for n in range(3)))
    large = event("large")
    large.data = {**large.data, "entity_name": "x" * 1_100}
    here.publish([event("small"), large])
    with here.router() as router:
        here.wait_routed()
        assert router.metric("signpost_unreadable_records_total", reason="body_too_large") == 1

    (letter,) = here.dead()

    assert (letter.reason, letter.key) == ("body_too_large", b"large")
    assert b"x" * 1_100 in (letter.value or b"")
    assert Counter(job.event_id for job in here.jobs()) == {"small": 3}


@pytest.mark.promise(1)
def test_two_routers_share_the_partitions_and_route_each_event_once(here: Installation) -> None:
    """A second router takes over some partitions. No job is lost or repeated by that."""
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

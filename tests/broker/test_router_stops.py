"""Causes that pause the router completely or for one partition, and its continuation."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import urlsplit

import pytest
from confluent_kafka import KafkaError, Producer

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Received
from schemas.catalog.errors import Unavailable
from schemas.records.partitioner import partition_of
from schemas.records.topics import FIRST
from schemas.subscriptions.subscription import encode_subscription
from tests.support.installation import ZENOO, Installation, Stale, alter, event, subscription, value_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


def customer_on(partition: int, partitions: int = 3) -> str:
    return next(name for n in range(1_000) if partition_of(name := f"customer-{n}", partitions) == partition)


def test_unusable_subscription_pauses_its_customer_until_repaired(here: Installation) -> None:
    """Events of a customer with an unreadable subscription wait. Events of others are routed. Nothing is lost."""
    here.subscribe(subscription("good"), subscription("globex", customer_id="globex"))
    # The record can be decoded, so its customer is known, but its key is not its id.
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
        assert router.role.loop.not_ready() is not None, "only a repaired record helps"

        here.subscribe(subscription("broken"))
        here.wait_routed()
        router.wait_ready()

    jobs = Counter((job.event_id, job.subscription_id) for job in here.jobs())
    assert jobs == Counter(
        [(one.event_id, "globex") for one in globex]
        + [(one.event_id, id_) for one in acme for id_ in ("good", "broken")]
    )


def test_unusable_subscription_of_an_unknown_customer_pauses_its_partition(here: Installation) -> None:
    """If the customer cannot be read either, all customers of that partition wait until the record is deleted."""
    mine = customer_on(0)
    other = customer_on(1)
    here.subscribe(subscription("mine", customer_id=mine), subscription("other", customer_id=other))
    here.write_subscription("broken", b"not a record", mine)
    here.produce(here.events_topic, value_of(event("mine", mine)), partition=0)
    here.produce(here.events_topic, value_of(event("other", other)), partition=1)
    with here.router() as router:
        router.wait_not_ready(mine)
        wait_until(
            lambda: [job.event_id for job in here.jobs()] == ["other"], what="events of the other partition are routed"
        )
        here.write_subscription("broken", None, mine)
        here.wait_routed()
        router.wait_ready()

    assert sorted(job.event_id for job in here.jobs()) == ["mine", "other"]


def test_unusable_record_after_a_good_one_stops_nothing(here: Installation) -> None:
    """The last readable record of a subscription stays in force."""
    here.subscribe(subscription("one"))
    here.write_subscription("one", b"not a record", "acme")
    here.publish([event("evt_1")])
    with here.router() as router:
        here.wait_routed()
        router.wait_ready()

    assert [job.subscription_id for job in here.jobs()] == ["one"]


def refuses(here: Installation, topic: str, size: int) -> bool:
    """Return whether a topic refuses a record of this size on its last partition."""
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": here.bootstrap_servers, "log_level": 0})
    producer.produce(topic, b"x" * size, partition=2, on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    return bool(errors) and errors[0] is not None and errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_router_exits_without_a_commit_after_a_refused_record(here: Installation) -> None:
    """The producer reports failures even though it reports no successes, and the router commits nothing after one."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        alter(here, here.names.jobs(FIRST), "max.message.bytes", "100")
        wait_until(lambda: refuses(here, here.names.jobs(FIRST), 200), what="the topic refuses large records")
        before = here.positions()
        here.publish([event("evt_1")])
        error = router.wait_ended()

    assert isinstance(error, Unavailable)
    assert "the events are read again after the next start" in str(error)
    assert here.positions() == before


@pytest.mark.promise(7)
def test_nothing_is_routed_while_the_table_is_not_fresh(here: Installation) -> None:
    """Events wait until the table is fresh again, and the router stays in its group."""
    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        router.role.loop._table = Stale(router.role.table)
        router.wait_not_ready("do not respond to the request for the end of subscriptions")
        here.publish(event(f"evt_{n}") for n in range(3_000))
        wait_until(lambda: router.role.loop._source._suspended, what="the router pauses its partitions")
        assert here.jobs() == []
        router.role.loop._table = router.role.table
        here.wait_routed()

    assert Counter(job.event_id for job in here.jobs()) == Counter(f"evt_{n}" for n in range(3_000))


def test_unavailable_schema_pauses_only_its_partition(broker: Broker, prefix: str, receiver: Receiver) -> None:
    """Events behind an unknown schema id wait until the registry returns the schema. Other partitions continue."""
    schema = json.dumps(ZENOO.event_types["case.created"].schema)
    missing = {7}

    def registry(request: Received) -> CannedResponse:
        if int(urlsplit(request.path).path.rpartition("/")[2]) in missing:
            return CannedResponse(500, body=b"{}")
        headers = (("Content-Type", "application/json"),)
        return CannedResponse(200, headers, json.dumps({"schema": schema}).encode())

    receiver.behave = registry
    here = Installation(broker.bootstrap_servers, prefix, schema_registry_url=receiver.url.rstrip("/")).make_topics()
    here.subscribe(subscription("one"))
    for partition, schema_id, id_ in ((0, 7, "first"), (0, 8, "behind"), (1, 8, "other")):
        value = b"\x00" + schema_id.to_bytes(4, "big") + value_of(event(id_))[10:]
        here.produce(here.events_topic, value, partition=partition)
    with here.router() as router:
        router.wait_not_ready("does not return schema 7")
        wait_until(lambda: [job.event_id for job in here.jobs()] == ["other"], what="the other partition is routed")
        wait_until(lambda: router.metric("signpost_router_waiting_for_registry") == 1, what="the metric agrees")
        missing.clear()
        here.wait_routed()
        router.wait_ready()

    assert sorted(job.event_id for job in here.jobs()) == ["behind", "first", "other"]
    assert here.dead() == []

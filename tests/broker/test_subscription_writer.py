"""Subscriptions are written by one hand at a time, on a real broker."""

from __future__ import annotations

import pytest
from confluent_kafka import IsolationLevel, Producer

from deploy.dev.broker import Broker
from producers.subscriptions.acknowledgement import ACKNOWLEDGE_AFTER_S
from producers.subscriptions.changes import Apply, Delete, Effect, Pause, Result, Resume, Wish
from producers.subscriptions.writer import Surroundings
from schemas.catalog.errors import SealBroken, SubscriptionError, Unavailable
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames
from schemas.subscriptions.rules import Given
from schemas.subscriptions.subscription import decode_subscription
from tests.support.subscriptions import (
    PARTITIONS,
    draft,
    present,
    writer_of,
)
from tests.support.topics import read_topic

CANARY = "canary-of-this-test"


def effects(results: list[Result]) -> list[tuple[str, Effect]]:
    return [(result.id, result.effect) for result in results]


def records(broker: Broker, names: TopicNames) -> list[tuple[int | None, bytes | None, bytes | None]]:
    return [(m.partition(), m.key(), m.value()) for m in read_topic(broker.bootstrap_servers, names.subscriptions)]


def test_a_subscription_lives_from_its_creation_to_its_deletion(make_writer):
    """Created, changed, paused, resumed, deleted: each is what the next reads, and only a resume raises activation."""
    writer = make_writer()
    wishes: list[Wish] = [Apply(draft("a")), Apply(draft("a", description="x")), Pause("a"), Resume("a")]
    results = [writer.write([wish])[0] for wish in wishes]
    assert [result.effect for result in results] == ["created", "changed", "paused", "resumed"]
    first, second, third, fourth = (result.subscription.activation for result in results)
    assert first == second == third < fourth
    assert present(make_writer()) == {"a": results[-1].subscription}

    assert effects(writer.write([Delete("a")])) == [("a", "deleted")]
    assert present(make_writer()) == {}


def test_what_changes_nothing_writes_nothing(broker, names, make_writer):
    """The same wishes again leave the topic as it is."""
    writer = make_writer()
    wishes = [Apply(draft("a", secret=Given(CANARY))), Apply(draft("b", "beta"))]
    writer.write(wishes)
    writer.write([Pause("a")])
    before = records(broker, names)
    assert effects(make_writer().write([*wishes])) == [("a", "unchanged"), ("b", "unchanged")]
    assert effects(make_writer().write([Pause("a"), Resume("b")])) == [("a", "unchanged"), ("b", "unchanged")]
    assert records(broker, names) == before


def test_all_of_a_customer_is_on_the_partition_of_its_id(broker, names, make_writer):
    """Records are keyed by subscription and placed by customer, where a Java producer would put the customer's id."""
    make_writer().write([Apply(draft(f"{customer}-{n}", customer)) for customer in ("acme", "beta") for n in range(5)])
    for partition, key, value in records(broker, names):
        assert value is not None
        subscription = decode_subscription(value)
        assert key == subscription.id.encode()
        assert partition == partition_of(subscription.customer_id, PARTITIONS)


def test_nothing_is_written_if_anything_is_wrong(broker, names, make_writer):
    """All problems of all wishes are said, and the good ones among them are not done."""
    make_writer().write([Apply(draft("a"))])
    before = records(broker, names)
    with pytest.raises(SubscriptionError) as caught:
        make_writer().write([Apply(draft("new")), Apply(draft("a", "beta")), Pause("none"), Delete("none2")])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "subscription a",
        "subscription none",
        "subscription none2",
    ]
    assert records(broker, names) == before


@pytest.mark.promise(7)
def test_the_acknowledgement_waits_until_everybody_knows(make_writer):
    """Whoever hears of the result does so 250 ms after the record could be read."""
    seen: list[tuple[float, int]] = []
    other = make_writer()

    def sleep(seconds: float) -> None:
        seen.append((seconds, len(present(other))))

    make_writer(surroundings=Surroundings(sleep=sleep)).write([Apply(draft("a"))])
    waited_s, known = seen[-1]
    assert waited_s >= ACKNOWLEDGE_AFTER_S
    assert known == 1


@pytest.mark.promise(6)
def test_no_secret_is_in_a_topic(broker, names, make_writer, capfd):
    """A secret that was given and one that was made are in no record, committed or not, nor in anything printed."""
    writer = make_writer()
    results = writer.write([Apply(draft("a", secret=Given(CANARY))), Apply(draft("b"))])
    made = results[1].secret
    assert made is not None
    writer.write([Pause("a"), Apply(draft("b", secret=Given(CANARY + "2")))])
    with pytest.raises(SubscriptionError):
        writer.write([Apply(draft("a", "beta", secret=Given(CANARY)))])
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    everything = b"".join((m.key() or b"") + (m.value() or b"") for m in raw)
    printed = "".join(capfd.readouterr())
    for secret in (CANARY, made):
        assert secret.encode() not in everything
        assert secret not in printed
        assert secret not in repr(results)


def test_a_key_that_opens_nothing_is_refused(broker, names, make_writer):
    """With another sealing key than the present secrets have, no secret is sealed: the mistake would be found late."""
    make_writer().write([Apply(draft("a"))])
    before = records(broker, names)
    with pytest.raises(SealBroken, match="opens none of the present secrets"):
        make_writer(key=bytes(32)).write([Apply(draft("b"))])
    with pytest.raises(SealBroken, match="was sealed with the key"):
        make_writer(key=bytes(32)).write([Apply(draft("a", secret=Given(CANARY)))])
    assert records(broker, names) == before
    assert effects(make_writer(key=bytes(32)).write([Pause("a")])) == [("a", "paused")]


def test_a_broken_record_is_mended(kafka, names, make_writer):
    """A record that cannot be read is written anew by apply, and deleted by delete."""
    producer = Producer(kafka)
    partition = partition_of("acme", PARTITIONS)
    for id_ in ("a", "b"):
        producer.produce(names.subscriptions, key=id_, value=b"broken", partition=partition)
    assert producer.flush(30) == 0
    results = make_writer().write([Apply(draft("a")), Delete("b")])
    assert effects(results) == [("a", "created"), ("b", "deleted")]
    assert list(make_writer().read().items()) == [("a", results[0].subscription)]


def test_a_missing_topic_is_said(kafka, prefix):
    """Without the topic the error names the command that makes it."""
    writer = writer_of(kafka, TopicNames(prefix))
    try:
        with pytest.raises(Unavailable, match="signpost topics apply"):
            writer.write([Apply(draft("a"))])
    finally:
        writer.close()

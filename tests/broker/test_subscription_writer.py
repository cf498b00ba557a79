"""The subscription writer on a real broker."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import IsolationLevel, Producer

from deploy.dev.broker import Broker
from producers.compacted.acknowledgement import ACKNOWLEDGE_AFTER_S
from producers.compacted.environment import Environment
from producers.compacted.log import CompactedLog
from producers.subscriptions.changes import Apply, Command, Delete, Effect, Pause, Result, Resume
from schemas.catalog.errors import SealBroken, SubscriptionError, Unavailable
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames
from schemas.subscriptions.rules import Given
from schemas.subscriptions.subscription import decode_subscription
from tests.support.subscriptions import (
    AUTHOR,
    PARTITIONS,
    draft,
    kafka_of,
    present,
    writer_of,
)
from tests.support.topics import read_topic

CANARY = "canary-of-this-test"


def effects(results: list[Result]) -> list[tuple[str, Effect]]:
    return [(result.id, result.effect) for result in results]


def records(broker: Broker, names: TopicNames) -> list[tuple[int | None, bytes | None, bytes | None]]:
    return [(m.partition(), m.key(), m.value()) for m in read_topic(broker.bootstrap_servers, names.subscriptions)]


def test_writer_creates_changes_pauses_resumes_and_deletes(make_writer):
    """The next writer reads each change. Only a resume raises the activation."""
    writer = make_writer()
    commands: list[Command] = [Apply(draft("a")), Apply(draft("a", description="x")), Pause("a"), Resume("a")]
    results = [writer.write([command], AUTHOR)[0] for command in commands]
    assert [result.effect for result in results] == ["created", "changed", "paused", "resumed"]
    first, second, third, fourth = (result.subscription.activation for result in results)
    assert first == second == third < fourth
    assert present(make_writer()) == {"a": results[-1].subscription}

    assert effects(writer.write([Delete("a")], AUTHOR)) == [("a", "deleted")]
    assert present(make_writer()) == {}


def test_log_receives_while_records_arrive(broker, names, make_writer):
    """A process restarts for stuck clients only while nothing arrives, so a log that is behind restarts none."""
    later_s = [0.0]
    log: CompactedLog[bytes] = CompactedLog(
        kafka_of(broker.bootstrap_servers),
        names.subscriptions,
        lambda _, value: value,
        monotonic=lambda: time.monotonic() + later_s[0],
        sleep=time.sleep,
        timeout_s=30.0,
    )
    make_writer().write([Apply(draft("a"))], AUTHOR)
    log.read()
    assert log.receives
    later_s[0] += 10.0
    assert not log.receives
    make_writer().write([Pause("a")], AUTHOR)
    log.read()
    assert log.receives
    log.close()


def test_unchanged_subscriptions_write_nothing(broker, names, make_writer):
    """Commands that change nothing write no record."""
    writer = make_writer()
    commands = [Apply(draft("a", secret=Given(CANARY))), Apply(draft("b", "beta"))]
    writer.write(commands, AUTHOR)
    writer.write([Pause("a")], AUTHOR)
    before = records(broker, names)
    assert effects(make_writer().write([*commands], AUTHOR)) == [("a", "unchanged"), ("b", "unchanged")]
    assert effects(make_writer().write([Pause("a"), Resume("b")], AUTHOR)) == [("a", "unchanged"), ("b", "unchanged")]
    assert records(broker, names) == before


def test_subscriptions_are_partitioned_by_customer(broker, names, make_writer):
    """A record's key is the subscription id. Its partition is the murmur2 hash of the customer id, as in Java."""
    make_writer().write(
        [Apply(draft(f"{customer}-{n}", customer)) for customer in ("acme", "beta") for n in range(5)], AUTHOR
    )
    for partition, key, value in records(broker, names):
        assert value is not None
        subscription = decode_subscription(value)
        assert key == subscription.id.encode()
        assert partition == partition_of(subscription.customer_id, PARTITIONS)


def test_nothing_is_written_if_any_command_is_invalid(broker, names, make_writer):
    """One invalid command refuses all. The error lists the problems of every command."""
    make_writer().write([Apply(draft("a"))], AUTHOR)
    before = records(broker, names)
    with pytest.raises(SubscriptionError) as caught:
        make_writer().write([Apply(draft("new")), Apply(draft("a", "beta")), Pause("none"), Delete("none2")], AUTHOR)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "subscription a",
        "subscription none",
        "subscription none2",
    ]
    assert records(broker, names) == before


@pytest.mark.promise(7)
def test_acknowledgement_waits_250_ms_after_the_record_is_readable(make_writer):
    """The writer acknowledges a change 250 ms after its record was readable."""
    sleeps: list[tuple[float, int]] = []
    other = make_writer()

    def sleep(seconds: float) -> None:
        sleeps.append((seconds, len(present(other))))

    make_writer(environment=Environment(sleep=sleep)).write([Apply(draft("a"))], AUTHOR)
    slept_s, readable = sleeps[-1]
    assert slept_s >= ACKNOWLEDGE_AFTER_S
    assert readable == 1


@pytest.mark.promise(6)
def test_no_secret_is_in_a_topic(broker, names, make_writer, capfd):
    """No record, committed or aborted, and no output contains a given or a generated secret."""
    writer = make_writer()
    results = writer.write([Apply(draft("a", secret=Given(CANARY))), Apply(draft("b"))], AUTHOR)
    generated = results[1].secret
    assert generated is not None
    writer.write([Pause("a"), Apply(draft("b", secret=Given(CANARY + "2")))], AUTHOR)
    with pytest.raises(SubscriptionError):
        writer.write([Apply(draft("a", "beta", secret=Given(CANARY)))], AUTHOR)
    raw = read_topic(broker.bootstrap_servers, names.subscriptions, isolation=IsolationLevel.READ_UNCOMMITTED)
    everything = b"".join((m.key() or b"") + (m.value() or b"") for m in raw)
    printed = "".join(capfd.readouterr())
    for secret in (CANARY, generated):
        assert secret.encode() not in everything
        assert secret not in printed
        assert secret not in repr(results)


def test_sealing_key_that_opens_nothing_is_refused(broker, names, make_writer):
    """A sealing key that opens none of the existing secrets seals no new one: the mistake would show too late."""
    make_writer().write([Apply(draft("a"))], AUTHOR)
    before = records(broker, names)
    with pytest.raises(SealBroken, match="opens none of the present secrets"):
        make_writer(key=bytes(32)).write([Apply(draft("b"))], AUTHOR)
    with pytest.raises(SealBroken, match="was sealed with the key"):
        make_writer(key=bytes(32)).write([Apply(draft("a", secret=Given(CANARY)))], AUTHOR)
    assert records(broker, names) == before
    assert effects(make_writer(key=bytes(32)).write([Pause("a")], AUTHOR)) == [("a", "paused")]


def test_broken_record_is_repaired(kafka, names, make_writer):
    """`apply` replaces an unreadable record, and `delete` deletes it."""
    producer = Producer(kafka)
    partition = partition_of("acme", PARTITIONS)
    for id_ in ("a", "b"):
        producer.produce(names.subscriptions, key=id_, value=b"broken", partition=partition)
    assert producer.flush(30) == 0
    results = make_writer().write([Apply(draft("a")), Delete("b")], AUTHOR)
    assert effects(results) == [("a", "created"), ("b", "deleted")]
    assert list(make_writer().read().items()) == [("a", results[0].subscription)]


def test_missing_topic_is_named(kafka, prefix):
    """If the topic is missing, the error names the command that creates it."""
    writer = writer_of(kafka, TopicNames(prefix))
    try:
        with pytest.raises(Unavailable, match="signpost topics apply"):
            writer.write([Apply(draft("a"))], AUTHOR)
    finally:
        writer.close()

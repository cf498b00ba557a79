"""Subscriptions are written by one hand at a time, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import IsolationLevel, Producer

from deploy.local.broker import Broker
from producers.subscription_changes import Apply, Delete, Effect, Pause, Result, Resume, Wish
from producers.subscriptions import ACKNOWLEDGE_AFTER_S, SubscriptionWriter, Surroundings
from schemas.errors import SealBroken, SubscriptionError, Unavailable
from schemas.partitioner import partition_of
from schemas.rules import Given
from schemas.subscription import Subscription, decode_subscription
from schemas.topics import TopicNames
from tests.support.subscriptions import PARTITIONS, draft, kafka_of, subscriptions_topic, writer_of
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

CANARY = "canary-of-this-test"
MakeWriter = Callable[..., SubscriptionWriter]


@pytest.fixture
def kafka(broker: Broker) -> dict[str, str]:
    return kafka_of(broker.bootstrap_servers)


@pytest.fixture
def names(broker: Broker, prefix: str) -> TopicNames:
    return subscriptions_topic(broker.bootstrap_servers, prefix)


@pytest.fixture
def make_writer(kafka: dict[str, str], names: TopicNames) -> Iterator[MakeWriter]:
    made: list[SubscriptionWriter] = []

    def make(**options: object) -> SubscriptionWriter:
        writer = writer_of(kafka, names, **options)  # type: ignore[arg-type]  # the tests give what it takes
        made.append(writer)
        return writer

    yield make
    for writer in made:
        writer.close()


def effects(results: list[Result]) -> list[tuple[str, Effect]]:
    return [(result.id, result.effect) for result in results]


def present(writer: SubscriptionWriter) -> dict[str, Subscription]:
    return {id_: found for id_, found in writer.read().items() if isinstance(found, Subscription)}


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


def test_the_acknowledgement_waits_until_everybody_knows(make_writer):
    """Whoever hears of the result does so 250 ms after the record could be read."""
    seen: list[tuple[float, int]] = []
    other = make_writer()

    def sleep(seconds: float) -> None:
        seen.append((seconds, len(present(other))))

    make_writer(surroundings=Surroundings(sleep=sleep)).write([Apply(draft("a"))])
    assert seen[-1] == (ACKNOWLEDGE_AFTER_S, 1)


def test_two_writers_at_once_lose_nothing(make_writer):
    """Two that write for one customer at the same time fence each other, and both end with all that they were asked."""
    start = threading.Barrier(2)
    results: dict[str, list[Result]] = {}

    def write(name: str) -> list[Result]:
        writer = make_writer()
        start.wait(30)
        return [writer.write([Apply(draft(f"{name}-{n}", description=name))])[0] for n in range(5)]

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip("xy", pool.map(write, "xy"), strict=True))
    found = present(make_writer())
    assert set(found) == {f"{name}-{n}" for name in "xy" for n in range(5)}
    for name in "xy":
        for result in results[name]:
            assert result.effect == "created"
            assert found[result.id] == result.subscription


def test_two_writers_that_create_the_same_end_with_one(make_writer):
    """Two that create one id at the same time: one creates it, and the other finds it and changes what differs."""
    start = threading.Barrier(2)

    def write(name: str) -> Result:
        writer = make_writer()
        start.wait(30)
        return writer.write([Apply(draft("a", description=name))])[0]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(write, "xy"))
    found = present(make_writer())["a"]
    assert sorted(result.effect for result in results) == ["changed", "created"]
    assert [result.subscription for result in results if result.effect == "changed"] == [found]
    assert [s.id for s in found.secrets] == [
        s.id for result in results if result.secret is not None for s in (result.subscription or found).secrets
    ]


class Interrupted(SubscriptionWriter):
    """A writer to which something happens after its first transaction was committed, or before it is."""

    happens: Callable[[], None]
    before = False

    def _commit(self, producer: Producer, partition: int, results: list[Result]) -> list[int]:
        if self.before:
            self._once()
        written = super()._commit(producer, partition, results)
        if not self.before:
            self._once()
        return written

    def _once(self) -> None:
        happens, self.happens = self.happens, lambda: None
        happens()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("wish", [Apply(draft("a", description="mine")), Resume("a"), Delete("a")])
def test_who_gets_no_answer_finds_out(kafka, names, make_writer, wish, before):
    """A commit whose answer is lost is found done, or done again: once, with the same secret, and never twice."""
    if not isinstance(wish, Apply):
        make_writer().write([Apply(draft("a"))])
        make_writer().write([Pause("a")])
    plain = make_writer()
    writer = Interrupted(kafka, names, plain._senders, plain._sealer)
    writer.before = before

    def no_answer() -> None:
        raise Unavailable("no answer")

    writer.happens = no_answer
    try:
        (result,) = writer.write([wish])
    finally:
        writer.close()
    assert result.effect == {Apply: "created", Resume: "resumed", Delete: "deleted"}[type(wish)]
    assert (result.secret is not None) is isinstance(wish, Apply)
    assert present(make_writer()).get("a") == result.subscription


def test_a_fenced_writer_does_not_write_over_its_successor(kafka, names, make_writer):
    """Who is overtaken between its decision and its commit reads what the other wrote before it writes."""
    make_writer().write([Apply(draft("a"))])
    plain = make_writer()
    writer = Interrupted(kafka, names, plain._senders, plain._sealer)
    writer.before = True
    writer.happens = lambda: make_writer().write([Pause("a")]) and None
    try:
        (result,) = writer.write([Apply(draft("a", description="mine"))])
    finally:
        writer.close()
    found = present(make_writer())["a"]
    assert (found.paused, found.description) == (True, "mine")
    assert result.subscription == found


APPLY = """
import sys
from producers.subscription_changes import Apply
from tests.support.subscriptions import *
writer = writer_of(kafka_of(sys.argv[1]), TopicNames(sys.argv[2]))
for number in range(8):
    for result in writer.write([Apply(draft(f"{c}-{n}", f"customer-{c}")) for c in range(12) for n in range(3)]):
        print(result.id, result.effect, flush=True)
"""


def test_a_writer_that_is_killed_is_completed_by_the_next(broker, names, make_writer, tmp_path: Path):
    """Killed in the middle of a file, a customer is there whole or not at all, and the same file again completes it."""
    root = Path(__file__).parents[2]
    wanted = [Apply(draft(f"{c}-{n}", f"customer-{c}")) for c in range(12) for n in range(3)]
    other = make_writer()
    with (tmp_path / "output").open("wb") as output:
        command = [sys.executable, "-c", APPLY, broker.bootstrap_servers, names.prefix]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=root)
        try:
            wait_until(lambda: present(other), what="the first customers are there")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
    there = present(make_writer())
    for customer in range(12):
        assert sum(f"{customer}-{n}" in there for n in range(3)) in (0, 3)

    results = make_writer().write(wanted)
    assert {result.id for result in results if result.effect == "unchanged"} >= set(there)
    assert set(present(make_writer())) == {wish.id for wish in wanted}


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
    with pytest.raises(SealBroken, match="opens none of the secrets that are there"):
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

"""Changes of many requests that are written together, and the table of an API process, on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.dev.broker import Broker
from producers.compacted.author import Author
from producers.compacted.partition_owner import Write
from producers.subscriptions.changes import (
    Apply,
    AuthoredCommand,
    Change,
    Command,
    Delete,
    Pause,
    Result,
    Resume,
)
from producers.subscriptions.store import Committed, SubscriptionStore
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import NoResponse, SubscriptionError, Unavailable, UnknownSubscription
from schemas.records.health import Operation, decode_operation
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames
from schemas.subscriptions.changes import Changes
from tests.support.proxy import Api, Frame, Gate, KafkaProxy
from tests.support.subscriptions import PARTITIONS, MakeWriter, draft, kafka_of, making_writers, present, write_each
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(7)

AUTHOR = Author("key:of-the-tests", "request-1")


def authored(*commands: Command) -> list[AuthoredCommand]:
    return [AuthoredCommand(command, AUTHOR) for command in commands]


@pytest.fixture
def audited(broker: Broker, names: TopicNames) -> Callable[[], list[Operation]]:
    """Return a function that reads the audit records, oldest first."""

    def read() -> list[Operation]:
        messages = read_topic(broker.bootstrap_servers, names.operations)
        return sorted((decode_operation(message.value()) for message in messages), key=lambda one: one.at_ms)

    return read


@pytest.fixture
def store(make_writer: MakeWriter) -> Iterator[SubscriptionStore]:
    """A running store."""
    with running(make_writer()) as store:
        yield store


@contextmanager
def running(writer: SubscriptionWriter) -> Iterator[SubscriptionStore]:
    """Run a store. Its writer is closed by the caller."""
    store = SubscriptionStore(writer)
    store.start()
    try:
        yield store
    finally:
        store._worker.join()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that can hold the next commit of a writer of `behind_gate`."""
    gate = Gate(Api.END_TXN, "request")
    yield gate
    gate.open()


@pytest.fixture
def behind_gate(broker: Broker, names: TopicNames, audited: object, gate: Gate) -> Iterator[MakeWriter]:
    """Create writers with a proxy before their broker."""
    with (
        KafkaProxy(broker.bootstrap_servers) as proxy,
        making_writers(kafka_of(proxy.bootstrap_servers), names) as make,
    ):
        proxy.rule = gate
        yield make


def customers(partitions: int) -> list[str]:
    """Return customers on so many different partitions."""
    by_partition = {partition_of(f"customer-{n}", PARTITIONS): f"customer-{n}" for n in range(100)}
    return list(by_partition.values())[:partitions]


def created(store: SubscriptionStore, id_: str, customer: str) -> Future[Committed]:
    """Create a subscription."""
    return store.submit(AuthoredCommand(Apply(draft(id_, customer)), AUTHOR))


def effects(results: list[Any]) -> list[str]:
    return [result.effect if isinstance(result, Result) else type(result).__name__ for result in results]


def test_each_command_has_its_own_result_or_error(
    make_writer: MakeWriter, audited: Callable[[], list[Operation]]
) -> None:
    """An invalid command refuses no other one, on its partition or elsewhere, and only changes have audit records."""
    writer = make_writer()
    first = write_each(writer, authored(*(Apply(draft(f"s{n}", f"customer-{n}")) for n in range(8))))
    assert effects(first) == ["created"] * 8
    unchanged = Change("s1", Changes(description=""))
    unknown_type = Change("s2", Changes(event_types=("no.such.type",)))
    commands = [Pause("s0"), unchanged, unknown_type, Delete("s3"), Delete("missing"), Pause("missing-too")]

    results = write_each(writer, authored(*commands))

    wanted = ["paused", "unchanged", "SubscriptionError", "deleted", "UnknownSubscription", "UnknownSubscription"]
    assert effects(results) == wanted
    assert set(present(make_writer())) == {f"s{n}" for n in range(8)} - {"s3"}
    kinds = [(one.kind, one.subscription_id, one.actor, one.request_id) for one in audited()[8:]]
    assert sorted(kinds) == [
        ("subscription_changed", "s0", AUTHOR.name, AUTHOR.request_id),
        ("subscription_deleted", "s3", AUTHOR.name, AUTHOR.request_id),
    ]


@pytest.mark.parametrize("before", [True, False], ids=["fenced", "response lost"])
def test_interrupted_batch_takes_effect_once(
    make_writer: MakeWriter, audited: Callable[[], list[Operation]], *, before: bool
) -> None:
    """A writer that is fenced, or loses the response to a commit, writes each change and its audit record once."""
    writer, other = make_writer(), make_writer()
    write_each(writer, authored(*(Apply(draft(f"s{n}")) for n in range(3))))
    commit = writer._owner._commit
    interruptions = [before]

    def interrupted(producer: Producer, partition: int, write: Write) -> list[int]:
        if interruptions == [True]:
            interruptions.clear()
            other.write([Pause("s0")], AUTHOR)
        offsets = commit(producer, partition, write)
        if interruptions == [False]:
            interruptions.clear()
            raise Unavailable("no response")
        return offsets

    writer._owner._commit = interrupted  # type: ignore[method-assign]  # the place of the interruption
    changes = [Change(f"s{n}", Changes(description="mine")) for n in range(3)]
    results = write_each(writer, authored(*changes))

    assert effects(results) == ["changed"] * 3
    found = present(make_writer())
    assert {one.description for one in found.values()} == {"mine"}
    assert found["s0"].paused is before
    changed = 3 + before  # with the pause by the other writer
    assert [one.kind for one in audited()] == ["subscription_created"] * 3 + ["subscription_changed"] * changed


def test_changes_of_one_subscription_are_made_in_order(
    store: SubscriptionStore, audited: Callable[[], list[Operation]]
) -> None:
    """Requests for one id that wait at the same time are written one after another."""
    commands = [Apply(draft("a")), Pause("a"), Resume("a"), Delete("a"), Apply(draft("a", description="again"))]
    futures = [store.submit(command) for command in authored(*commands)]
    results = [future.result(30).result for future in futures]
    assert effects(list(results)) == ["created", "paused", "resumed", "deleted", "created"]
    found = store.find("a")
    assert found is not None
    assert found.description == "again"
    kinds = [one.kind.removeprefix("subscription_") for one in audited()]
    assert kinds == ["created", "changed", "changed", "deleted", "created"]


def test_table_has_what_was_acknowledged_before(store: SubscriptionStore, make_writer: MakeWriter) -> None:
    """After `caught_up` the table has each change that any process had acknowledged before the call."""
    writer = make_writer()
    for number in range(5):
        write_each(writer, authored(Apply(draft(f"s{number}"))))
        store.caught_up().result(30)
        assert {one.id for one in store.of_customer("zenoo", "acme")} == {f"s{n}" for n in range(number + 1)}


def test_cancelled_requests_are_not_written(store: SubscriptionStore) -> None:
    """A request whose client has gone before its turn changes nothing."""
    futures: list[Future[Committed]] = [store.submit(command) for command in authored(Apply(draft("a")))]
    futures += [store.submit(AuthoredCommand(Change("a", Changes(description=f"{n}")), AUTHOR)) for n in range(20)]
    cancelled = [future for future in futures[10:] if future.cancel()]
    wait(futures, 30)
    for future in cancelled:
        with pytest.raises(CancelledError):
            future.result()
    done = [future.result().result for future in futures if future not in cancelled]
    found = store.find("a")
    assert found is not None
    assert done[-1].subscription is not None
    assert found.description == done[-1].subscription.description


def test_errors_name_the_reason(make_writer: MakeWriter) -> None:
    """An unknown id and a forbidden value are different errors."""
    writer: SubscriptionWriter = make_writer()
    unknown, forbidden = write_each(
        writer, authored(Delete("missing"), Apply(draft("a", event_types=("no.such.type",))))
    )
    assert isinstance(unknown, UnknownSubscription)
    assert isinstance(forbidden, SubscriptionError)
    assert "no.such.type" in str(forbidden)


def test_partition_whose_commit_hangs_delays_no_other(behind_gate: MakeWriter, gate: Gate) -> None:
    """Of changes that are written together, those of a partition without a response are answered later than others."""
    one, other = customers(2)
    with running(behind_gate()) as store:
        for customer in (one, other):
            created(store, f"{customer}-1", customer).result(60)
        gate.arm()
        both = {customer: created(store, f"{customer}-2", customer) for customer in (one, other)}
        gate.wait_reached()
        wait(both.values(), 60, FIRST_COMPLETED)
        (held,) = [customer for customer, future in both.items() if not future.done()]
        free = other if held == one else one
        assert created(store, f"{free}-3", free).result(60).result.effect == "created"
        assert not both[held].done()
        store.caught_up().result(60)
        gate.open()
        assert both[held].result(60).result.effect == "created"
        found = {subscription.id for customer in (one, other) for subscription in store.of_customer("zenoo", customer)}
        assert found == {f"{one}-1", f"{one}-2", f"{other}-1", f"{other}-2", f"{free}-3"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_error_of_the_program_answers_everyone(make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expects ends the thread. Neither a change nor a reader waits for it any longer."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    writer = make_writer()
    monkeypatch.setattr(writer, "begin_each", broken)
    store = SubscriptionStore(writer)
    changes = [created(store, id_, customer) for customer in customers(2) for id_ in (customer, customer)]
    caught_up = store.caught_up()
    store.start()
    store._worker.join(60)

    assert not store.is_alive
    assert {str(one.exception(0)) for one in (*changes, caught_up)} == {"broken"}


def test_result_without_a_record_is_current(broker: Broker, names: TopicNames, make_writer: MakeWriter) -> None:
    """A change that seems to change nothing is decided by what other processes have written meanwhile."""
    gate = Gate(Api.FETCH, "response")
    asked = Event()

    def rule(frame: Frame) -> bool:
        if frame == Frame(Api.LIST_OFFSETS, "request"):
            asked.set()
        return gate(frame)

    with (
        KafkaProxy(broker.bootstrap_servers) as proxy,
        making_writers(kafka_of(proxy.bootstrap_servers), names) as make,
        running(make()) as store,
    ):
        created(store, "a", "acme").result(60)
        proxy.rule = rule
        gate.arm(every=True)
        gate.wait_reached()
        make_writer().write([Pause("a")], AUTHOR)
        asked.clear()
        resumed = store.submit(AuthoredCommand(Resume("a"), AUTHOR))
        wait_until(lambda: resumed.done() or asked.is_set(), what="the change is answered, or the end is requested")
        gate.open()
        assert resumed.result(60).result.effect == "resumed"


def test_requests_behind_a_write_without_response_end_with_it(behind_gate: MakeWriter, gate: Gate) -> None:
    """A write without a response may have been made, those behind it were not, and later ones are made."""
    (customer,) = customers(1)
    with running(behind_gate(timeout_s=4.0)) as store:
        created(store, "a", customer).result(60)
        gate.arm(every=True)
        held = created(store, "b", customer)
        gate.wait_reached()
        behind = created(store, "c", customer)
        with pytest.raises(NoResponse, match="may have been written"):
            held.result(60)
        with pytest.raises(NoResponse, match="nothing was written"):
            behind.result(60)
        gate.open(lose=True)

        def is_written() -> bool:
            return created(store, "c", customer).exception(60) is None

        wait_until(is_written, 60, "the partition is written again")

"""Writers of subscriptions that meet, are interrupted, or are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from producers.subscriptions.changes import Apply, Delete, Pause, Result, Resume
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import Unavailable
from tests.support.subscriptions import draft, present
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(7)


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
from producers.subscriptions.changes import Apply
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

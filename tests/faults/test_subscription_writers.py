"""Subscription writers that run at the same time, are interrupted, or are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from producers.compacted.partition_owner import Write
from producers.subscriptions.changes import Apply, Delete, Pause, Result, Resume
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import Unavailable
from schemas.records.health import decode_operation
from tests.support.subscriptions import AUTHOR, draft, present
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(7)


def test_concurrent_writers_lose_no_change(make_writer):
    """Two writers for one customer fence each other, and both complete all their changes."""
    start = threading.Barrier(2)
    results: dict[str, list[Result]] = {}

    def write(name: str) -> list[Result]:
        writer = make_writer()
        start.wait(30)
        return [writer.write([Apply(draft(f"{name}-{n}", description=name))], AUTHOR)[0] for n in range(5)]

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip("xy", pool.map(write, "xy"), strict=True))
    found = present(make_writer())
    assert set(found) == {f"{name}-{n}" for name in "xy" for n in range(5)}
    for name in "xy":
        for result in results[name]:
            assert result.effect == "created"
            assert found[result.id] == result.subscription


def test_concurrent_creates_of_one_id_make_one_subscription(make_writer):
    """Of two writers that create one id at the same time, one creates it and the other changes what differs."""
    start = threading.Barrier(2)

    def write(name: str) -> Result:
        writer = make_writer()
        start.wait(30)
        return writer.write([Apply(draft("a", description=name))], AUTHOR)[0]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(write, "xy"))
    found = present(make_writer())["a"]
    assert sorted(result.effect for result in results) == ["changed", "created"]
    assert [result.subscription for result in results if result.effect == "changed"] == [found]
    assert [s.id for s in found.secrets] == [
        s.id for result in results if result.secret is not None for s in (result.subscription or found).secrets
    ]


class Interrupted(SubscriptionWriter):
    """A writer that calls `interrupt` once, after its first transaction is committed, or before with `before`."""

    interrupt: Callable[[], None]
    before = False

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        commit = self._owner._commit

        def interrupted(producer: Producer, partition: int, write: Write) -> list[int]:
            if self.before:
                self._interrupt_once()
            written = commit(producer, partition, write)
            if not self.before:
                self._interrupt_once()
            return written

        self._owner._commit = interrupted  # type: ignore[method-assign]  # the place of the interruption

    def _interrupt_once(self) -> None:
        interrupt = self.interrupt
        self.interrupt = lambda: None
        interrupt()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("change", [Apply(draft("a", description="mine")), Resume("a"), Delete("a")])
def test_commit_with_lost_response_takes_effect_once(kafka, names, make_writer, change, before):
    """After a lost response the writer looks up its result, repeats it if needed, and leaves one audit record."""
    if not isinstance(change, Apply):
        make_writer().write([Apply(draft("a"))], AUTHOR)
        make_writer().write([Pause("a")], AUTHOR)
    plain = make_writer()
    writer = Interrupted(kafka, names, plain._senders, plain._sealer)
    writer.before = before

    def lose_response() -> None:
        raise Unavailable("no response")

    writer.interrupt = lose_response
    try:
        (result,) = writer.write([change], AUTHOR)
    finally:
        writer.close()
    assert result.effect == {Apply: "created", Resume: "resumed", Delete: "deleted"}[type(change)]
    assert (result.secret is not None) is isinstance(change, Apply)
    assert present(make_writer()).get("a") == result.subscription
    kinds = [decode_operation(one.value()).kind for one in read_topic(kafka["bootstrap.servers"], names.operations)]
    earlier = [] if isinstance(change, Apply) else ["subscription_created", "subscription_changed"]
    last = {Apply: "subscription_created", Resume: "subscription_changed", Delete: "subscription_deleted"}
    assert kinds == [*earlier, last[type(change)]]


def test_fenced_writer_keeps_the_changes_of_its_successor(kafka, names, make_writer):
    """A writer that is fenced between reading and committing reads the other writer's change before it writes."""

    def pause() -> None:
        make_writer().write([Pause("a")], AUTHOR)

    make_writer().write([Apply(draft("a"))], AUTHOR)
    plain = make_writer()
    writer = Interrupted(kafka, names, plain._senders, plain._sealer)
    writer.before = True
    writer.interrupt = pause
    try:
        (result,) = writer.write([Apply(draft("a", description="mine"))], AUTHOR)
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
commands = [Apply(draft(f"{c}-{n}", f"customer-{c}")) for c in range(12) for n in range(3)]
for number in range(8):
    for result in writer.write(commands, AUTHOR):
        print(result.id, result.effect, flush=True)
"""


def test_next_writer_completes_a_killed_one(broker, names, make_writer, tmp_path: Path):
    """After a kill each customer has all or none of its subscriptions; applying the same file again completes it."""
    root = Path(__file__).parents[2]
    wanted = [Apply(draft(f"{c}-{n}", f"customer-{c}")) for c in range(12) for n in range(3)]
    other = make_writer()
    with (tmp_path / "output").open("wb") as output:
        command = [sys.executable, "-c", APPLY, broker.bootstrap_servers, names.prefix]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=root)
        try:
            wait_until(lambda: present(other), what="the first customers are written")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
    written = present(make_writer())
    for customer in range(12):
        assert sum(f"{customer}-{n}" in written for n in range(3)) in (0, 3)

    results = make_writer().write(wanted, AUTHOR)
    assert {result.id for result in results if result.effect == "unchanged"} >= set(written)
    assert set(present(make_writer())) == {change.id for change in wanted}

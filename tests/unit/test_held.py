"""Partitions that are stopped before a record: nothing of them passes it, all others go on, and none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.router.held import Held
from consumers.router.routing import Blocked, Routed, Routing, Waiting
from consumers.runtime.dead_letters import SourceRecord

pytestmark = pytest.mark.promise(1)

PARTITIONS = st.integers(0, 2)


@dataclass(frozen=True)
class Record:
    """An event of a customer, by a schema."""

    partition_: int
    offset_: int
    needs: str

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_


class HeldModel(RuleBasedStateMachine):
    """Logs of records, some of which need a subscription to be mended or a schema to be known."""

    @initialize()
    def begin(self) -> None:
        self.held = Held()
        self.logs: dict[int, list[Record]] = {0: [], 1: [], 2: []}
        self.next = dict.fromkeys(self.logs, 0)  # where each partition is read on
        self.stopped: dict[int, Record] = {}
        self.amiss: dict[str, str | None] = {}  # what is needed, and why it is not there

    @rule(partition=PARTITIONS, needs=st.sampled_from(["", "customer", "schema 1", "schema 2"]))
    def append(self, partition: int, needs: str) -> None:
        self.logs[partition].append(Record(partition, len(self.logs[partition]), needs))

    @rule(what=st.sampled_from(["customer", "schema 1", "schema 2"]), why=st.sampled_from(["asked", "away"]))
    def goes_amiss(self, what: str, why: str) -> None:
        self.amiss[what] = None if why == "asked" and what != "customer" else why

    @rule(what=st.sampled_from(["customer", "schema 1", "schema 2"]))
    def is_mended(self, what: str) -> None:
        self.amiss.pop(what, None)

    @rule(partition=PARTITIONS)
    def read(self, partition: int) -> None:
        """As the loop does: a partition that is held is not read."""
        if partition in self.stopped or self.next[partition] == len(self.logs[partition]):
            return
        record = self.logs[partition][self.next[partition]]
        routing = self._route(record)
        if isinstance(routing, Routed):
            self.next[partition] += 1
            return
        assert isinstance(routing, Blocked | Waiting)
        self.stopped[partition] = record
        self.held.hold(("events", partition), cast("SourceRecord", record), routing)

    @rule()
    def look(self) -> None:
        """Whoever may go on is told, once; whoever may not is not."""
        free = {key[1] for key, _ in self.held.go_on(self._blocked, lambda one: self._route(cast("Record", one)))}
        assert free == {number for number, record in self.stopped.items() if record.needs not in self.amiss}
        for number in free:
            del self.stopped[number]

    @rule()
    def partitions_go(self) -> None:
        self.held.clear()
        self.stopped.clear()

    def _blocked(self, customer: str) -> str | None:
        return self.amiss.get(customer)

    def _route(self, record: Record) -> Routing:
        if record.needs not in self.amiss:
            return Routed("zenoo", "case.created", iter(()), 0, 0)
        if record.needs == "customer":
            return Blocked("customer", "unusable")
        return Waiting(self.amiss[record.needs])

    @invariant()
    def whoever_waits_is_told(self) -> None:
        """A reason is there as long as a customer's events are stopped, and never where nothing is."""
        reason = self.held.reason()
        if not self.stopped:
            assert reason is None
        if any(record.needs == "customer" for record in self.stopped.values()):
            assert reason is not None
            assert "customer" in reason

    def teardown(self) -> None:
        """With everything mended, every record is routed."""
        if not hasattr(self, "held"):
            return
        self.amiss.clear()
        self.look()
        for number, log in self.logs.items():
            for _ in log[self.next[number] :]:
                self.read(number)
            assert self.next[number] == len(log)


TestHeld = HeldModel.TestCase
TestHeld.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

"""Paused partitions: no later record is routed, other partitions continue, and every pause ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.kafka.dead_letters import SourceRecord
from consumers.router.paused_partitions import PausedPartitions
from consumers.router.routing import Blocked, Routed, Routing, Waiting

pytestmark = pytest.mark.promise(1)

PARTITIONS = st.integers(0, 2)


@dataclass(frozen=True)
class Record:
    """An event that may need a customer's subscriptions or a schema."""

    partition_: int
    offset_: int
    needs: str

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_


class PausedPartitionsModel(RuleBasedStateMachine):
    """A partition waits for a readable subscription or a known schema; then every record is routed in order."""

    @initialize()
    def begin(self) -> None:
        self.paused = PausedPartitions()
        self.logs: dict[int, list[Record]] = {0: [], 1: [], 2: []}
        self.next = dict.fromkeys(self.logs, 0)  # the next offset of each partition
        self.expected: dict[int, Record] = {}
        self.missing: dict[str, str | None] = {}  # what records need, and why it is missing

    @rule(partition=PARTITIONS, needs=st.sampled_from(["", "customer", "schema 1", "schema 2"]))
    def append(self, partition: int, needs: str) -> None:
        self.logs[partition].append(Record(partition, len(self.logs[partition]), needs))

    @rule(what=st.sampled_from(["customer", "schema 1", "schema 2"]), why=st.sampled_from(["requested", "away"]))
    def becomes_missing(self, what: str, why: str) -> None:
        self.missing[what] = None if why == "requested" and what != "customer" else why

    @rule(what=st.sampled_from(["customer", "schema 1", "schema 2"]))
    def becomes_available(self, what: str) -> None:
        self.missing.pop(what, None)

    @rule(partition=PARTITIONS)
    def read(self, partition: int) -> None:
        """Like the loop, read no paused partition."""
        if partition in self.expected or self.next[partition] == len(self.logs[partition]):
            return
        record = self.logs[partition][self.next[partition]]
        routing = self._route(record)
        if isinstance(routing, Routed):
            self.next[partition] += 1
            return
        assert isinstance(routing, Blocked | Waiting)
        self.expected[partition] = record
        self.paused.pause(("events", partition), cast("SourceRecord", record), routing)

    @rule()
    def resume_partitions(self) -> None:
        """A partition is resumed once, when its reason is gone."""
        resumed = {key[1] for key, _ in self.paused.resume(self._blocked, lambda one: self._route(cast("Record", one)))}
        assert resumed == {number for number, record in self.expected.items() if record.needs not in self.missing}
        for number in resumed:
            del self.expected[number]

    @rule()
    def partitions_are_revoked(self) -> None:
        self.paused.clear()
        self.expected.clear()

    def _blocked(self, customer: str) -> str | None:
        return self.missing.get(customer)

    def _route(self, record: Record) -> Routing:
        if record.needs not in self.missing:
            return Routed("zenoo", "case.created", iter(()), 0, 0)
        if record.needs == "customer":
            return Blocked("customer", "unusable")
        return Waiting(self.missing[record.needs])

    @invariant()
    def reason_is_reported(self) -> None:
        """A reason is reported while a customer's events wait, and none while no partition is paused."""
        reason = self.paused.reason()
        if not self.expected:
            assert reason is None
        if any(record.needs == "customer" for record in self.expected.values()):
            assert reason is not None
            assert "customer" in reason

    def teardown(self) -> None:
        """Once nothing is missing, every record is routed."""
        if not hasattr(self, "paused"):
            return
        self.missing.clear()
        self.resume_partitions()
        for number, log in self.logs.items():
            for _ in log[self.next[number] :]:
                self.read(number)
            assert self.next[number] == len(log)


TestPausedPartitions = PausedPartitionsModel.TestCase
TestPausedPartitions.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

"""Paused partitions: no later record is routed, other partitions continue, every record gets exactly one decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.kafka.dead_letters import SourceRecord
from consumers.router.paused_partitions import PausedPartitions
from consumers.router.routing import Blocked, Decision, Routed, Routing, UnreadableEvent, Waiting

pytestmark = pytest.mark.promise(1)

PARTITIONS = st.integers(0, 2)


@dataclass(frozen=True)
class Record:
    """An event that may need a schema and a customer's subscriptions, and that may be unreadable."""

    partition_: int
    offset_: int
    needs: frozenset[str]
    dead: bool

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_


NEEDS = st.frozensets(st.sampled_from(["customer", "schema 1", "schema 2"]))


class PausedPartitionsModel(RuleBasedStateMachine):
    """A partition waits for a readable subscription or a known schema; then every record is decided in order."""

    @initialize()
    def begin(self) -> None:
        self.paused = PausedPartitions()
        self.logs: dict[int, list[Record]] = {0: [], 1: [], 2: []}
        self.next = dict.fromkeys(self.logs, 0)  # the next offset to read of each partition
        self.expected: dict[int, Record] = {}
        self.decided: dict[int, list[tuple[int, type[Decision]]]] = {0: [], 1: [], 2: []}
        self.missing: dict[str, str | None] = {}  # what records need, and why it is missing
        self.reported: dict[tuple[str, int], str] = {}

    @rule(partition=PARTITIONS, needs=NEEDS, dead=st.booleans())
    def append(self, partition: int, needs: frozenset[str], dead: bool) -> None:
        self.logs[partition].append(Record(partition, len(self.logs[partition]), needs, dead))

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
        self.next[partition] += 1
        routing = self._route(record)
        if isinstance(routing, (Blocked, Waiting)):
            self.expected[partition] = record
            self.paused.pause(("events", partition), cast("SourceRecord", record), routing)
        else:
            self.decided[partition].append((record.offset_, type(routing)))

    @rule()
    def resume_partitions(self) -> None:
        """A partition is resumed once, when nothing is missing, with the decision about its record."""
        resumed = self.paused.resume(self._blocked, lambda one: self._route(cast("Record", one)))
        free = {number for number, record in self.expected.items() if not record.needs & self.missing.keys()}
        assert {one.key[1] for one in resumed} == free
        for one in resumed:
            record = self.expected.pop(one.key[1])
            assert one.record is cast("SourceRecord", record)
            self.decided[one.key[1]].append((record.offset_, type(one.decision)))

    @rule()
    def changes_are_reported(self) -> None:
        """A pause is reported once when it begins, and once when it ends."""
        began, ended = self.paused.changes()
        for pause in ended:
            assert self.reported.pop(pause.key) == pause.kind
        for pause in began:
            assert pause.key not in self.reported
            self.reported[pause.key] = pause.kind
        assert self.reported == {key: pause.kind for key, pause in self.paused.pauses().items()}

    @rule()
    def partitions_are_revoked(self) -> None:
        """Read from the committed position again: behind the last decided record."""
        self.paused.clear()
        self.expected.clear()
        self.next = {number: len(decided) for number, decided in self.decided.items()}

    def _blocked(self, customer: str) -> str | None:
        return self.missing.get(customer)

    def _route(self, record: Record) -> Routing:
        for schema in sorted(record.needs - {"customer"}):
            if schema in self.missing:
                return Waiting(self.missing[schema])
        if "customer" in record.needs & self.missing.keys():
            return Blocked("customer", "unusable")
        if record.dead:
            return UnreadableEvent("zenoo", "truncated", "", (None, b""))
        return Routed("zenoo", "case.created", iter(()), 0, 0)

    @invariant()
    def reason_is_reported(self) -> None:
        """A reason is reported while the router knows why a record waits, and none while no partition is paused."""
        reason = self.paused.reason()
        pauses = self.paused.pauses()
        assert (reason is None) == (not pauses)
        if any(pause.kind == "unreadable_subscription" for pause in pauses.values()):
            assert reason is not None
            assert "customer" in reason

    def teardown(self) -> None:
        """Once nothing is missing, every record has one decision, in order."""
        if not hasattr(self, "paused"):
            return
        self.missing.clear()
        self.resume_partitions()
        for number, log in self.logs.items():
            for _ in log[self.next[number] :]:
                self.read(number)
            assert self.decided[number] == [
                (record.offset_, UnreadableEvent if record.dead else Routed) for record in log
            ]
        self.changes_are_reported()
        assert not self.reported


TestPausedPartitions = PausedPartitionsModel.TestCase
TestPausedPartitions.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

"""Partitions paused before a record that cannot be routed yet; all other partitions continue. Pure.

A partition is paused for an unreadable subscription, as the events of its customer have to wait, or for the schema of a
record that the registry does not return. The record is kept and routed again until there is a decision; no later record
of the partition is routed before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.positions import PartitionKey
from consumers.router.routing import Blocked, Decision, PauseReason, Routing, Waiting

PauseKind: TypeAlias = Literal["unreadable_subscription", "schema_registry"]
PAUSE_KINDS: Final[tuple[PauseKind, ...]] = get_args(PauseKind)


@dataclass(frozen=True, slots=True)
class PartitionPause:
    """A partition that is paused for longer than a request to the registry takes; `reason` is a sentence."""

    key: PartitionKey
    offset: int
    kind: PauseKind
    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A partition that continues with `record`, for which `decision` was made."""

    key: PartitionKey
    record: SourceRecord
    decision: Decision


class PausedPartitions:
    """Paused partitions, each with its record and reason; any thread may call `reason` and `pauses`."""

    def __init__(self) -> None:
        self._paused: dict[PartitionKey, tuple[SourceRecord, PauseReason]] = {}
        self._reported: dict[PartitionKey, PartitionPause] = {}

    def pause(self, key: PartitionKey, record: SourceRecord, why: PauseReason) -> None:
        """Pause a partition before a record."""
        self._paused[key] = (record, why)

    def resume(self, blocked: Callable[[str], str | None], route: Callable[[SourceRecord], Routing]) -> list[Resumed]:
        """Resume the partitions whose record has a decision now, and return them with it."""
        resumed: list[Resumed] = []
        for key, (record, why) in list(self._paused.items()):
            if isinstance(why, Blocked) and blocked(why.customer_id) is not None:
                continue
            routing = route(record)
            if isinstance(routing, (Blocked, Waiting)):
                self._paused[key] = (record, routing)
                continue
            del self._paused[key]
            resumed.append(Resumed(key, record, routing))
        return resumed

    def records(self) -> list[SourceRecord]:
        """Return the records that wait."""
        return [record for record, _ in self._paused.values()]

    def clear(self) -> None:
        """Forget all of them: their records are read again, here or by another process."""
        self._paused.clear()

    def pauses(self) -> dict[PartitionKey, PartitionPause]:
        """Return the paused partitions, without those that wait for the first response to a request."""
        found = {}
        for key, (record, why) in list(self._paused.items()):
            if isinstance(why, Blocked):
                reason = f"a subscription of customer {why.customer_id!r} cannot be used: {why.reason}"
                found[key] = PartitionPause(key, record.offset() or 0, "unreadable_subscription", reason)
            elif why.error is not None:
                found[key] = PartitionPause(key, record.offset() or 0, "schema_registry", why.error)
        return found

    def changes(self) -> tuple[list[PartitionPause], list[PartitionPause]]:
        """Return the pauses that began and that ended since the last call. A new kind of reason is a new pause."""
        if not self._paused and not self._reported:
            return [], []
        now, before = self.pauses(), self._reported
        kept = {key for key, pause in now.items() if key in before and _is_same(pause, before[key])}
        self._reported = now
        return [now[key] for key in now if key not in kept], [before[key] for key in before if key not in kept]

    def reason(self) -> str | None:
        """Return the reason of one paused partition as a sentence, None if none is paused."""
        pauses = self.pauses()
        for pause in sorted(pauses.values(), key=lambda pause: PAUSE_KINDS.index(pause.kind)):
            topic, partition = pause.key
            others = f" (partitions that wait: {len(pauses)})" if len(pauses) > 1 else ""
            return f"stopped before offset {pause.offset} of {topic}, partition {partition}: {pause.reason}{others}"
        return None


def _is_same(one: PartitionPause, other: PartitionPause) -> bool:
    return (one.offset, one.kind) == (other.offset, other.kind)

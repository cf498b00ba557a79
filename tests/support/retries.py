"""How the retries that an outage leaves come back: from their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.avro.codec import DecodedRecord
from tests.support.scenario import Scenario
from tests.support.waiting import wait_until

# Milliseconds are cut off at both ends of an attempt.
_CUT_MS: Final = 2


@dataclass(frozen=True, slots=True)
class ComeBack:
    """Retries that were delivered: when they were due, and when they began."""

    retries: int
    early: int  # began before they were due
    due_within_ms: int
    begun_within_ms: int
    most_due_in_a_second: int
    most_begun_in_a_second: int
    most_at_once: int

    def __str__(self) -> str:
        return f"at most {self.most_due_in_a_second:,} due in a second, {self.most_begun_in_a_second:,} sent"


def come_back(outcomes: Iterable[DecodedRecord]) -> ComeBack:
    """Put together what became of jobs that failed first and were delivered then."""
    due: dict[tuple[str, int], int] = {}
    delivered: list[DecodedRecord] = []
    for outcome in outcomes:
        if outcome["next_due_at_ms"] is not None:
            due[outcome["job_id"], outcome["attempt"] + 1] = outcome["next_due_at_ms"]
        if outcome["state"] == "delivered":
            delivered.append(outcome)
    dues = [due[outcome["job_id"], outcome["attempt"]] for outcome in delivered]
    begun = [outcome["at_ms"] for outcome in delivered]
    return ComeBack(
        retries=len(delivered),
        early=sum(at_ms < due_ms for at_ms, due_ms in zip(begun, dues, strict=True)),
        due_within_ms=max(dues) - min(dues),
        begun_within_ms=max(begun) - min(begun),
        most_due_in_a_second=_most_in_a_second(dues),
        most_begun_in_a_second=_most_in_a_second(begun),
        most_at_once=_most_at_once(delivered),
    )


def outage(scenario: Scenario, name: str, jobs: int, *, step_s: int, deadline_s: float) -> range:
    """Have so many jobs for one endpoint fail at least once, and then all delivered; return their numbers.

    It answers 429 at once, and after its outage each request after 100 ms. All steps of the schedule are `step_s`.
    """
    scenario.players.tell(name, "told:0/100000")
    (one,) = scenario.endpoints(name, 1, schedule_s=(step_s,) * 20)
    batch = scenario.send([one], jobs)
    wait_until(lambda: _failed(scenario, batch), deadline_s, "each has failed")
    scenario.players.tell(name, "slow:100")
    scenario.ended(batch, deadline_s)
    return batch


def _failed(scenario: Scenario, batch: range) -> bool:
    scenario.ends.look()
    return all(number in scenario.ends.started_ms for number in batch)


def _most_in_a_second(times_ms: Sequence[int]) -> int:
    return max(Counter(at_ms // 1_000 for at_ms in times_ms).values())


def _most_at_once(attempts: Iterable[DecodedRecord]) -> int:
    changes = []
    for attempt in attempts:
        at_ms, took_ms = attempt["at_ms"], attempt["duration_us"] // 1_000
        changes += [(at_ms, 1), (at_ms + max(0, took_ms - _CUT_MS), -1)]
    most = open_ = 0
    for _, change in sorted(changes):
        open_ += change
        most = max(most, open_)
    return most

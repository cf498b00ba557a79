"""Retries after an outage of an endpoint, as their outcomes show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.avro.codec import DecodedRecord
from tests.support.scenario import Scenario
from tests.support.waiting import wait_until

# Start and end of an attempt are rounded down to milliseconds.
_CUT_MS: Final = 2


@dataclass(frozen=True, slots=True)
class ComeBack:
    """Delivered retries: when they were due and when they started."""

    retries: int
    early: int  # started before they were due
    due_within_ms: int
    started_within_ms: int
    max_due_per_second: int
    max_started_per_second: int
    max_concurrent: int

    def __str__(self) -> str:
        return f"at most {self.max_due_per_second:,} due and {self.max_started_per_second:,} sent per second"


def come_back(outcomes: Iterable[DecodedRecord]) -> ComeBack:
    """Summarize the outcomes of jobs that failed first and were delivered later."""
    due: dict[tuple[str, int], int] = {}
    delivered: list[DecodedRecord] = []
    for outcome in outcomes:
        if outcome["next_due_at_ms"] is not None:
            due[outcome["job_id"], outcome["attempt"] + 1] = outcome["next_due_at_ms"]
        if outcome["state"] == "delivered":
            delivered.append(outcome)
    dues = [due[outcome["job_id"], outcome["attempt"]] for outcome in delivered]
    started = [outcome["at_ms"] for outcome in delivered]
    return ComeBack(
        retries=len(delivered),
        early=sum(at_ms < due_ms for at_ms, due_ms in zip(started, dues, strict=True)),
        due_within_ms=max(dues) - min(dues),
        started_within_ms=max(started) - min(started),
        max_due_per_second=_max_per_second(dues),
        max_started_per_second=_max_per_second(started),
        max_concurrent=_max_concurrent(delivered),
    )


def outage(scenario: Scenario, name: str, jobs: int, *, step_s: int, deadline_s: float) -> range:
    """Let `jobs` for one endpoint fail at least once, then deliver all of them; return their numbers.

    During its outage the endpoint responds with 429 at once, afterwards with 200 after 100 ms. Each step of the
    schedule is `step_s`.
    """
    scenario.players.behave(name, "throttle:0/100000")
    (one,) = scenario.endpoints(name, 1, schedule_s=(step_s,) * 20)
    batch = scenario.send([one], jobs)
    wait_until(lambda: _failed(scenario, batch), deadline_s, "each has failed")
    scenario.players.behave(name, "slow:100")
    scenario.ended(batch, deadline_s)
    return batch


def _failed(scenario: Scenario, batch: range) -> bool:
    scenario.ends.look()
    return all(number in scenario.ends.started_ms for number in batch)


def _max_per_second(times_ms: Sequence[int]) -> int:
    return max(Counter(at_ms // 1_000 for at_ms in times_ms).values())


def _max_concurrent(attempts: Iterable[DecodedRecord]) -> int:
    changes = []
    for attempt in attempts:
        at_ms = attempt["at_ms"]
        took_ms = attempt["duration_us"] // 1_000
        changes += [(at_ms, 1), (at_ms + max(0, took_ms - _CUT_MS), -1)]
    most = 0
    open_ = 0
    for _, change in sorted(changes):
        open_ += change
        most = max(most, open_)
    return most

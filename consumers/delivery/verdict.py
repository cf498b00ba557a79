"""What an answer means for its job: no I/O, no clock; every rule of "what now?" is here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from consumers.delivery.answer import Answer, Responded, Unanswered
from consumers.delivery.tiers import Schedule


@dataclass(frozen=True, slots=True)
class Delivered:
    """2xx: the end of the job."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not 2xx: another attempt at `due_at_ms`."""

    due_at_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """410: never again, this job is dead."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Not 2xx, and that was the last attempt: the job is dead; `reason` says why the last one failed."""

    reason: str


Verdict: TypeAlias = Delivered | Retry | Gone | Exhausted
_DELIVERED = Delivered()


def judge(attempt: int, answer: Answer, schedule: Schedule, now_ms: int) -> Verdict:
    """Judge the answer to attempt number `attempt` (from 1). Redirects are failures, other 4xx retry too."""
    match answer:
        case Responded(status=status) if 200 <= status < 300:
            return _DELIVERED
        case Responded(status=410):
            return Gone()
        case Responded(status=status):
            reason = f"status_{status}"
        case Unanswered(kind=kind):
            reason = kind
        case _:
            assert_never(answer)
    wait_ms = schedule.wait_ms(attempt)
    return Exhausted(reason) if wait_ms is None else Retry(now_ms + wait_ms, reason)

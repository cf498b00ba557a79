"""What an answer means for its job: no I/O, no clock; every rule of "what now?" is here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from consumers.delivery.http.types import Response, ResponseOrError, TransportError
from consumers.delivery.retry_after import wait_ms
from consumers.delivery.tiers import Schedule

# Too many requests, and unavailable: with these an endpoint may say when to come again.
OVERLOADED: Final = frozenset({429, 503})


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
DELIVERED: Final = Delivered()


def is_delivered(answer: ResponseOrError) -> bool:
    """Whether that was a delivery: 2xx."""
    return type(answer) is Response and 200 <= answer.status < 300


def asked_to_wait_ms(answer: ResponseOrError, now_ms: int) -> int:
    """Return how long the endpoint asks to be left alone; 0 where it does not."""
    if type(answer) is not Response or answer.retry_after is None or answer.status not in OVERLOADED:
        return 0
    return wait_ms(answer.retry_after, now_ms) or 0


def judge(attempt: int, answer: ResponseOrError, schedule: Schedule, now_ms: int, longest_ms: int) -> Verdict:
    """Judge the answer to attempt number `attempt` (from 1). Redirects are failures, other 4xx retry too.

    A Retry-After moves the next attempt later, never earlier, by no more than `longest_ms`: the wait of the longest
    tier.
    """
    if is_delivered(answer):
        return DELIVERED
    match answer:
        case Response(status=410):
            return Gone()
        case Response(status=status):
            reason = f"status_{status}"
        case TransportError(kind=kind):
            reason = kind
        case _:
            assert_never(answer)
    wait = schedule.wait_ms(attempt)
    if wait is None:
        return Exhausted(reason)
    return Retry(now_ms + max(wait, min(asked_to_wait_ms(answer, now_ms), longest_ms)), reason)

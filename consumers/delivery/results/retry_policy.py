"""Retry policy: what happens to a job after an attempt. Pure. All rules of retrying are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from consumers.delivery.classification import DELIVERED, Classified, ResponseKind
from consumers.delivery.delay_topics import Schedule


@dataclass(frozen=True, slots=True)
class Delivered:
    """2xx: the job is done."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt at `due_at_ms` (Unix ms)."""

    due_at_ms: int


@dataclass(frozen=True, slots=True)
class Gone:
    """410: the job is dead, whatever attempts are left."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The last attempt of the schedule failed: the job is dead."""


Disposition: TypeAlias = Delivered | Retry | Gone | Exhausted
_DELIVERED: Final = Delivered()
_GONE: Final = Gone()
_EXHAUSTED: Final = Exhausted()


def dispose(
    attempt: int, classified: Classified, schedule: Schedule, now_ms: int, longest_delay_ms: int
) -> Disposition:
    """Return what happens after attempt number `attempt` (from 1). Redirects and other 4xx are retried like 5xx.

    Retry-After moves the next attempt later, never earlier. It counts at most `longest_delay_ms`, the delay of the
    longest delay topic.
    """
    if classified.kind is DELIVERED:
        return _DELIVERED
    if classified.kind is ResponseKind.GONE:
        return _GONE
    wait_ms = schedule.wait_ms(attempt)
    if wait_ms is None:
        return _EXHAUSTED
    return Retry(now_ms + max(wait_ms, min(classified.retry_after_ms, longest_delay_ms)))

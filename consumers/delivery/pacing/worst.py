"""The worst endpoints now, for whoever is on call. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest

from consumers.delivery.pacing.pace import Pace, Reason, T


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint as this process sees it; times are Unix ms.

    `last_answer` is the status or error of the last answer, empty where that was a delivery. `parked` is what this
    process believes to wait in tiers. `due_at_ms`: nothing starts before; None: nothing keeps it.
    """

    subscription_id: str
    host: str
    failing_since_ms: int | None
    last_answer: str
    in_flight: int
    limit: int
    waiting: int
    parked: int
    per_second: float | None  # what it takes, where that was measured
    due_at_ms: int | None
    circuit: str
    limited_by: str | None


def worst(paces: Iterable[Pace[T]], n: int, now_ms: int) -> list[EndpointView]:
    """Return the `n` endpoints that are worst off: those that fail for longest, then those with most to do."""

    def badness(pace: Pace[T]) -> tuple[int, int]:
        failing_ms = 0 if pace.failing_since_ms is None else now_ms - pace.failing_since_ms
        parked = 0 if pace.backlog is None else pace.backlog.parked(now_ms)
        return failing_ms, len(pace.waiting) + parked

    found = nlargest(n, paces, key=badness)
    return [_view(pace, now_ms) for pace in found if any(badness(pace)) or pace.in_flight]


@dataclass(frozen=True, slots=True)
class Census:
    """How many endpoints of a process have jobs waiting in memory, and how many are left alone, by reason."""

    limited: Mapping[str, int]
    open_circuits: Mapping[str, int]


def census(paces: Iterable[Pace[T]]) -> Census:
    """Count endpoints by what keeps them; 0.2 µs each."""
    limited = dict.fromkeys((reason.value for reason in Reason), 0)
    away = dict.fromkeys((Reason.FAILING.value, Reason.TOLD_TO_WAIT.value), 0)
    for pace in paces:
        if pace.waiting:
            limited[(pace.limited_by or Reason.IN_FLIGHT).value] += 1
        if (closed_by := pace.closed_by) is not None:
            away[closed_by.value] += 1
    return Census(limited, away)


def _view(pace: Pace[T], now_ms: int) -> EndpointView:
    due_ms = None
    if not pace.circuit.is_closed:
        due_ms = max(now_ms, pace.circuit.reopens_ms)
    elif pace.rate is not None and pace.rate.ready_at(now_ms) > now_ms:
        due_ms = pace.rate.ready_at(now_ms)
    return EndpointView(
        subscription_id=pace.id,
        host=pace.host.name,
        failing_since_ms=pace.failing_since_ms,
        last_answer=pace.last_answer,
        in_flight=pace.in_flight,
        limit=pace.limit.value,
        waiting=len(pace.waiting),
        parked=0 if pace.backlog is None else pace.backlog.parked(now_ms),
        per_second=None if pace.backlog is None else round(pace.backlog.per_second, 1),
        due_at_ms=due_ms,
        circuit=pace.circuit.state.value,
        limited_by=None if pace.limited_by is None else pace.limited_by.value,
    )

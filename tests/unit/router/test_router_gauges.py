"""The gauges of a router show its state, each by value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.router.loop import OBSERVE_EVERY_S, UNACKNOWLEDGED_S
from consumers.service.metrics import RouterMetrics
from tests.unit.router.test_router_turns import KEY, World


class Waiting:
    """The counter of unread records: one for each offset up to an end."""

    END = 1_000

    def turn(self, _now_s: float, positions: dict[tuple[str, int], int]) -> None:
        self.positions = positions

    def by_topic(self, positions: dict[tuple[str, int], int]) -> dict[str, int]:
        return {topic: self.END - position for (topic, _), position in positions.items()}

    def ages_by_topic(self, positions: dict[tuple[str, int], int]) -> dict[str, float]:
        return {topic: count / 10 for topic, count in self.by_topic(positions).items()}


class Table:
    """Three subscriptions; `fresh` and `receiving` are set by the test."""

    current = True
    fresh = True
    receiving = False

    def poll(self, _now_ms: int) -> None:
        return None

    def is_fresh(self, _now_ms: int) -> bool:
        return self.fresh

    def receives(self, _now_ms: int) -> bool:
        return self.receiving

    def staleness_ms(self, _now_ms: int) -> int:
        return 100 if self.fresh else 4_000

    def __len__(self) -> int:
        return 3


class Process:
    """A router in a simulated world, with its real metrics."""

    def __init__(self, events: int, jobs: int, commit_s: float) -> None:
        self.world = World(events=events, jobs=jobs, commit_s=commit_s)
        self.metrics = RouterMetrics({})
        self.waiting = Waiting()
        self.table = Table()
        loop: Any = self.world.loop
        loop._metrics, loop._waiting, loop._table = self.metrics, self.waiting, self.table
        loop._subscribers = SimpleNamespace(follow=lambda _table: None, blocked=lambda _id: None, unusable=2)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a gauge after the next observation."""
        self.world.turns(OBSERVE_EVERY_S + 0.1)
        return self.metrics.registry.get_sample_value(f"signpost_{name}", labels)


def test_jobs_count_as_uncommitted_until_their_commit() -> None:
    """While a commit takes long, all jobs since the one before are shown; afterwards none."""
    process = Process(events=7, jobs=3, commit_s=3.0)
    assert process.value("router_uncommitted_jobs") == 21
    process.world.turns(3.0)
    assert process.value("router_uncommitted_jobs") == 0


def test_events_that_arrived_and_are_not_routed_count_as_unread() -> None:
    """Events that wait in memory, because the table is not current, are lag."""
    process = Process(events=5, jobs=1, commit_s=0.01)
    process.table.fresh = False
    assert process.value("consumer_lag_records", topic=KEY[0]) == Waiting.END
    assert process.value("unread_age_seconds", topic=KEY[0]) == Waiting.END / 10
    assert process.value("table_staleness_seconds", table="subscriptions") == 4
    assert cast("Any", process.world.loop)._arrived
    process.table.fresh = True
    assert process.value("consumer_lag_records", topic=KEY[0]) == Waiting.END - 5
    assert process.value("table_staleness_seconds", table="subscriptions") == 0.1


def test_subscriptions_are_counted() -> None:
    """Entries and unusable records of the table are shown."""
    process = Process(events=0, jobs=0, commit_s=0.01)
    assert process.value("table_entries", table="subscriptions") == 3
    assert process.value("table_unusable_records", table="subscriptions") == 2


@pytest.mark.parametrize("age_ms", [0, 1_500])
def test_routed_events_are_counted_with_their_jobs_and_ages(age_ms: int) -> None:
    """Events, jobs and ages follow what was routed."""
    process = Process(events=4, jobs=2, commit_s=0.01)
    process.world.age_ms = age_ms
    other = {"sender": "other", "event_type": "other"}
    assert process.value("router_events_total", **other) == 4
    assert process.value("router_jobs_total", **other) == 8
    assert process.value("router_event_age_seconds_sum", sender="other") == 4 * age_ms / 1_000


def test_table_that_is_behind_is_no_sign_of_silent_brokers() -> None:
    """A table that receives records has brokers that respond, however long it takes: a restart would begin again."""
    process = Process(events=0, jobs=0, commit_s=0.01)
    process.table.fresh = False
    process.world.turns(UNACKNOWLEDGED_S + 1)
    assert process.world.loop.unanswered
    process.table.receiving = True
    assert not process.world.loop.unanswered

"""Floods of one endpoint, with the real rules on a clock of their own: few rewrites, and an endpoint that is busy."""

from __future__ import annotations

import pytest

from tests.support.flood import Flood, Model


def told(jobs: int, per_second: float, flood: Flood) -> str:
    """Return a row of the table of ARCHITECTURE.md."""
    return (
        f"| {jobs:,} | {per_second:,.0f} | {flood.seconds:,.0f} s | {flood.used:.0%} | {flood.rewrites:.1f} "
        f"| {flood.most_waiting:,} |"
    )


@pytest.mark.parametrize(
    ("jobs", "per_second"), [(5_000, 50), (20_000, 160), (20_000, 800), (50_000, 3_000), (50_000, 8_000)]
)
def test_a_flood_is_rewritten_a_few_times_and_keeps_its_endpoint_busy(jobs: int, per_second: float) -> None:
    """A job of a flood is rewritten three times on average, and the endpoint gets most of what it takes."""
    flood = Model(jobs, per_second).run()
    print(told(jobs, per_second, flood))
    assert flood.rewrites <= 3.5
    assert flood.used >= 0.75
    assert flood.most_waiting <= 1_000


def test_a_flood_among_others_is_rewritten_a_few_times() -> None:
    """Where retries of others come through the same partitions a job of a flood is rewritten five times at most."""
    flood = Model(20_000, 160, others=True).run()
    print(told(20_000, 160, flood))
    assert flood.rewrites <= 5
    assert flood.used >= 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    ("jobs", "per_second"),
    [(100_000, 50), (100_000, 160), (100_000, 500), (100_000, 2_000), (1_000_000, 160), (1_000_000, 1_600)],
)
def test_a_large_flood_is_rewritten_a_few_times(jobs: int, per_second: float) -> None:
    """A million jobs for one endpoint wait in their topics, instead of being written every few seconds."""
    flood = Model(jobs, per_second).run()
    print(told(jobs, per_second, flood))
    assert flood.rewrites <= 5
    assert flood.used >= 0.65

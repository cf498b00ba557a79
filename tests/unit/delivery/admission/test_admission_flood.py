"""Floods of one endpoint, with the real rules on a clock of their own: few rewrites, and an endpoint that is busy."""

from __future__ import annotations

import pytest

from tests.support.flood_model import Flood, Model

pytestmark = pytest.mark.promise(4)


def told(jobs: int, per_second: float, flood: Flood) -> str:
    """Return a row of the table of ARCHITECTURE.md."""
    return (
        f"| {jobs:,} | {per_second:,.0f} | {flood.seconds:,.0f} s | {flood.used:.0%} | {flood.rewrites:.1f} "
        f"| {flood.most_waiting:,} |"
    )


@pytest.mark.parametrize(
    ("jobs", "per_second"), [(5_000, 50), (20_000, 160), (20_000, 800), (50_000, 3_000), (50_000, 8_000)]
)
def test_flood_is_rewritten_a_few_times_and_keeps_its_endpoint_busy(jobs: int, per_second: float) -> None:
    """A job of a flood is rewritten at most five times on average, and the endpoint gets most of what it takes."""
    flood = Model(jobs, per_second).run()
    print(told(jobs, per_second, flood))
    assert flood.rewrites <= 5
    assert flood.used >= 0.45  # the least is for one that takes 3,000 a second: 1,000 at hand are a third of a second
    assert flood.most_waiting <= 1_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("jobs", "per_second"),
    [(100_000, 50), (100_000, 160), (100_000, 500), (100_000, 2_000), (1_000_000, 160), (1_000_000, 1_600)],
)
def test_large_flood_is_rewritten_a_few_times(jobs: int, per_second: float) -> None:
    """A million jobs for one endpoint come nearer step by step, instead of being written every few seconds."""
    flood = Model(jobs, per_second).run()
    print(told(jobs, per_second, flood))
    assert flood.rewrites <= (6 if jobs == 100_000 else 12)
    assert flood.used >= 0.6

"""Floods of one endpoint, with real admission control: few rewrites, and the endpoint is kept busy."""

from __future__ import annotations

import pytest

from tests.support.flood_model import Flood, FloodModel

pytestmark = pytest.mark.promise(4)


def row_of(jobs: int, per_second: float, flood: Flood) -> str:
    """Return a flood as a row of a Markdown table."""
    return (
        f"| {jobs:,} | {per_second:,.0f} | {flood.seconds:,.0f} s | {flood.used:.0%} | {flood.rewrites:.1f} "
        f"| {flood.most_waiting:,} |"
    )


@pytest.mark.parametrize(
    ("jobs", "per_second"), [(5_000, 50), (20_000, 160), (20_000, 800), (50_000, 3_000), (50_000, 8_000)]
)
def test_flood_is_rewritten_a_few_times_and_keeps_its_endpoint_busy(jobs: int, per_second: float) -> None:
    """A job of a flood is rewritten at most five times on average, and the endpoint is kept busy."""
    flood = FloodModel(jobs, per_second).run()
    print(row_of(jobs, per_second, flood))
    assert flood.rewrites <= 5
    assert flood.used >= 0.45  # lowest at 3,000 a second, for which 1,000 tasks in memory last a third of a second
    assert flood.most_waiting <= 1_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("jobs", "per_second"),
    [(100_000, 50), (100_000, 160), (100_000, 500), (100_000, 2_000), (1_000_000, 160), (1_000_000, 1_600)],
)
def test_large_flood_is_rewritten_a_few_times(jobs: int, per_second: float) -> None:
    """A million jobs reach their endpoint in a few steps, instead of being rewritten every few seconds."""
    flood = FloodModel(jobs, per_second).run()
    print(row_of(jobs, per_second, flood))
    assert flood.rewrites <= (6 if jobs == 100_000 else 12)
    assert flood.used >= 0.6

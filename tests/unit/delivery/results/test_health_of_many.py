"""Endpoint health of thousands of endpoints."""

from __future__ import annotations

import pytest

from tests.support.table import RecordProperty, Row
from tests.unit.delivery.results.test_health import MINUTE, Endpoint


@pytest.mark.scenario
def test_only_gone_or_failing_endpoints_are_disabled_among_thousands(record_property: RecordProperty) -> None:
    """A 410 and five days of failures disable; a 410 to an attempt from before a resume does not. 3,000 endpoints."""
    gone, failing, late = ([Endpoint() for _ in range(1_000)] for _ in range(3))
    events = 0
    for one in gone:
        one.fails(0, why=410)
    for hour in range(0, 5 * 24 + 1, 6):
        events += len(failing)
        for one in failing:
            one.fails(hour * 60 * MINUTE)
    for one in late:
        one.succeeds(0, activation=2)
        one.fails(1, activation=1, why=410)
    lost = sum(one.disabled(2) for one in late) + sum(not one.disabled() for one in (*gone, *failing))
    events += len(gone) + 2 * len(late)
    Row("410, five days, late 410", events, events - len(late), lost, 0).show(record_property)
    assert lost == 0

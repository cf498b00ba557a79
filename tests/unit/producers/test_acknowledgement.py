"""When the writer acknowledges a change of a subscription."""

from __future__ import annotations

import pytest

from consumers.subscriptions.staleness import MAX_STALENESS_MS
from producers.compacted.acknowledgement import ACKNOWLEDGE_AFTER_S, acknowledge_after_s

pytestmark = pytest.mark.promise(7)


def test_acknowledgement_comes_after_the_staleness_bound():
    """A fresh table is at most 200 ms behind, so that each one has read a change by 250 ms."""
    assert acknowledge_after_s(0.0) == acknowledge_after_s(0.2) == ACKNOWLEDGE_AFTER_S > MAX_STALENESS_MS / 1_000


@pytest.mark.parametrize("response_s", [0.3, 1.0, 3.0])
def test_slow_broker_delays_acknowledgement_by_two_responses(response_s):
    """A table that is as slow as the writer has read a change before it is acknowledged."""
    assert acknowledge_after_s(response_s) >= ACKNOWLEDGE_AFTER_S + 2 * response_s

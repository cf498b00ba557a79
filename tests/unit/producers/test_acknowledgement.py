"""When a change of a subscription is acknowledged."""

from __future__ import annotations

import pytest

from consumers.subscriptions.staleness import MAX_STALENESS_MS
from producers.subscriptions.acknowledgement import ACKNOWLEDGE_AFTER_S, acknowledge_after_s

pytestmark = pytest.mark.promise(7)


def test_an_acknowledgement_comes_after_whoever_is_fresh_knows():
    """Delivery acts on what was readable 200 ms ago: by 250 ms everybody has read a change."""
    assert acknowledge_after_s(0.0) == acknowledge_after_s(0.2) == ACKNOWLEDGE_AFTER_S > MAX_STALENESS_MS / 1_000


@pytest.mark.parametrize("answer_s", [0.3, 1.0, 3.0])
def test_a_slow_broker_makes_an_acknowledgement_wait_for_two_of_its_answers(answer_s):
    """Whoever hears as slowly as the writer did knows of a change before it is acknowledged."""
    assert acknowledge_after_s(answer_s) >= ACKNOWLEDGE_AFTER_S + 2 * answer_s

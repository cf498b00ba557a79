"""Endpoints that were quick and stop answering all at once, on real connections: what is left for the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.scenario import Scenario
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4)

PLACES: Final = 512
STOPPING: Final = 40
# None of what hangs ends while the test runs.
HANGS_S: Final = 120
DEADLINE_S: Final = 100


@pytest.fixture(scope="module")
def scenario(module_pipeline: Pipeline) -> Iterator[Scenario]:
    with Players() as players:
        yield Scenario(module_pipeline, players)


def test_others_go_on_while_forty_that_stopped_together_hold_about_half_of_the_places(scenario: Scenario) -> None:
    """Forty flooded endpoints stop in one moment: they hold half of the places and one each, the others get theirs."""
    players = scenario.players
    stopping = scenario.endpoints("stop", STOPPING, timeout_s=HANGS_S)
    others = scenario.endpoints("others", 20)
    unknown = scenario.endpoints("unknown", 5)
    # Evenly: on a busy machine what comes at once takes over a second each, and they would be slow.
    scenario.ended(scenario.send([*stopping, *others], 10 * (STOPPING + 20), 200), DEADLINE_S)

    def held() -> int:
        return sum(play["requests"] - play["answered"] for play in players.seen("stop").values())

    players.tell("stop", "hang")
    hanging = scenario.send(stopping, 50 * STOPPING)
    wait_until(lambda: held() >= STOPPING, DEADLINE_S, "they hang")
    beside = scenario.send(others, 100 * len(others))
    new = scenario.send(unknown, 5 * len(unknown))
    scenario.ended(beside, DEADLINE_S)
    scenario.ended(new, DEADLINE_S)

    assert scenario.ends.odd(beside) == scenario.ends.odd(new) == []
    assert scenario.ends.missing(hanging) == len(hanging)
    assert STOPPING <= held() <= PLACES // 2 + STOPPING
    assert scenario.role.metric("signpost_delivery_slow_requests") <= PLACES // 2 + STOPPING

"""When a table may be acted on."""

from __future__ import annotations

import pytest

from consumers.freshness import Freshness

END = {0: 10}


def told(*steps: tuple[str, int]) -> Freshness:
    """Replay what happened: asked, answered (the question of then), failed, or passed (everything asked so far)."""
    freshness = Freshness()
    for what, at_ms in steps:
        match what:
            case "asked":
                freshness.asked(at_ms)
            case "answered":
                freshness.answered(at_ms, END)
            case "failed":
                freshness.failed(at_ms)
            case "passed":
                freshness.passed(END)
            case "behind":
                freshness.passed({0: 9})
    return freshness


PROVEN = (("asked", 0), ("answered", 0), ("passed", 0))
SILENCE = tuple(("asked", at_ms) for at_ms in range(100, 1200, 100))


@pytest.mark.parametrize(
    ("steps", "now_ms", "is_fresh"),
    [
        pytest.param((), 0, False, id="nothing was asked"),
        pytest.param((("asked", 0),), 1500, False, id="a broker that never answered is not trusted"),
        pytest.param((("asked", 0), ("answered", 0)), 10, False, id="answered, not read"),
        pytest.param((("asked", 0), ("answered", 0), ("behind", 0)), 10, False, id="one record is missing"),
        pytest.param(PROVEN, 0, True, id="read to the end"),
        pytest.param(PROVEN, 200, True, id="200 ms ago"),
        pytest.param(PROVEN, 201, False, id="201 ms ago"),
        pytest.param((*PROVEN, ("asked", 100), ("answered", 100), ("passed", 0)), 300, True, id="asked again"),
        pytest.param((*PROVEN, ("asked", 100)), 300, False, id="an answer that is only late is waited for"),
        pytest.param((*PROVEN, *SILENCE), 1099, False, id="not yet a second of silence"),
        pytest.param((*PROVEN, *SILENCE), 1100, True, id="a silent broker is trusted"),
        pytest.param((*PROVEN, *SILENCE), 5000, True, id="for 5 s"),
        pytest.param((*PROVEN, *SILENCE), 5001, False, id="and no longer"),
        pytest.param(
            (*PROVEN, *(step for at in range(100, 1200, 100) for step in (("asked", at), ("failed", at)))),
            1150,
            True,
            id="questions that fail are silence",
        ),
        pytest.param(
            (*PROVEN, ("asked", 100), ("answered", 100), ("behind", 0), *((what, at + 100) for what, at in SILENCE)),
            1300,
            False,
            id="known to lack something when the broker fell silent",
        ),
        pytest.param((*PROVEN, ("asked", 100), ("asked", 3000)), 3050, False, id="standing still is no silence"),
        pytest.param(
            (*PROVEN, *SILENCE, ("answered", 1100), ("behind", 0)), 1250, False, id="the broker is back with news"
        ),
        pytest.param(
            (*PROVEN, *SILENCE, ("answered", 1100), ("passed", 0)), 1250, True, id="the broker is back without news"
        ),
        pytest.param(
            (("asked", 0), ("asked", 100), ("answered", 100), ("answered", 0), ("passed", 0)),
            290,
            True,
            id="an overtaken answer is ignored",
        ),
    ],
)
def test_freshness(steps, now_ms, is_fresh):
    """A table may be acted on within 200 ms of a question whose answer it has reached, 5 s if the broker is silent."""
    assert told(*steps).is_fresh(now_ms) is is_fresh


def test_current_is_having_reached_an_end_once():
    """A table is current from the first end on that it has passed, however old that is by then."""
    assert not told(("asked", 0), ("answered", 0)).proven
    assert told(*PROVEN).proven


def test_questions_are_due_every_100_ms():
    """A slow answer does not keep the next question back."""
    freshness = told(("asked", 0))
    assert [at_ms for at_ms in (0, 50, 99, 100, 150) if freshness.is_due(at_ms)] == [100, 150]


def test_a_table_that_reads_for_long_reaches_its_first_end():
    """A long reading at the start, with an answer every 100 ms meanwhile, ends at the first of these ends."""
    freshness = Freshness()
    for number in range(1000):
        freshness.asked(number * 100)
        freshness.answered(number * 100, {0: number + 1})
        freshness.passed({0: 0})
    freshness.passed({0: 1})
    assert freshness.proven

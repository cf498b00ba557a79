"""Sampling of successes: how many lines a second are written, and that none is left out without a count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.service.log_sampling import SuccessSampler

NOW = 1_800_000_000_000


def admitted(sampler: SuccessSampler, *at_ms: int) -> list[bool]:
    return [sampler.admits(at) for at in at_ms]


def test_first_lines_of_each_second_are_written() -> None:
    """Each second has its number of lines, the others are left out and counted."""
    sampler = SuccessSampler(2)
    assert admitted(sampler, NOW, NOW + 1, NOW + 2, NOW + 999) == [True, True, False, False]
    assert admitted(sampler, NOW + 1_000, NOW + 1_001, NOW + 1_999) == [True, True, False]
    assert sampler.omitted == 3


def test_next_line_has_the_number_of_lines_left_out_before_it() -> None:
    """The number is that since the line before, and 0 if there were none."""
    sampler = SuccessSampler(1)
    admitted(sampler, NOW, NOW, NOW)
    assert (sampler.take_omitted(), sampler.take_omitted()) == (2, 0)
    admitted(sampler, NOW + 1_000, NOW + 1_000)
    assert (sampler.take_omitted(), sampler.omitted) == (1, 3)


def test_everything_is_written_without_a_limit() -> None:
    """By default nothing is left out."""
    sampler = SuccessSampler(0)
    assert all(admitted(sampler, *[NOW] * 1_000))
    assert (sampler.omitted, sampler.take_omitted()) == (0, 0)


def test_line_out_of_order_does_not_begin_a_new_second() -> None:
    """Attempts end in another order than they are counted: a line of the second before takes from this second."""
    sampler = SuccessSampler(1)
    assert admitted(sampler, NOW + 1_000, NOW + 999, NOW + 1_001) == [True, False, False]


def test_clock_that_is_set_back_does_not_stop_the_log() -> None:
    """After the clock went back by hours, lines are written again at once."""
    sampler = SuccessSampler(1)
    assert admitted(sampler, NOW, NOW - 7_200_000, NOW - 7_200_000, NOW - 7_199_000) == [True, True, False, True]


@given(st.integers(1, 5), st.lists(st.integers(0, 5_000), max_size=200))
def test_no_second_has_more_lines_and_every_line_is_counted(per_second: int, steps: list[int]) -> None:
    """Whatever the rate is, each line is either written, within the limit, or counted as left out."""
    sampler = SuccessSampler(per_second)
    at_ms, written, total = NOW, dict[int, int](), 0
    for step in steps:
        at_ms += step
        total += 1
        if sampler.admits(at_ms):
            written[at_ms // 1_000] = written.get(at_ms // 1_000, 0) + 1
    assert all(count <= per_second for count in written.values())
    assert sum(written.values()) + sampler.omitted == total
    assert sampler.take_omitted() == sampler.omitted

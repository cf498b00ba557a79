"""Durations in settings and files: an integer and a unit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.delay_topics import DelayTopics
from schemas.catalog.errors import InvalidInput
from schemas.input.durations import format_duration, parse_duration
from schemas.records.topics import TopicNames


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", timedelta(0)),
        ("250ms", timedelta(milliseconds=250)),
        ("007m", timedelta(minutes=7)),
        ("24h", timedelta(days=1)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_duration_is_an_integer_and_a_unit(text: str, expected: timedelta) -> None:
    """Units are milliseconds to days; the maximum is a hundred years."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "+5s", "1.5h", "1e3s", "5 s", "5s ", "5S", "nan", "inf", "٣s", "5w"]
)
def test_invalid_duration_is_refused_with_the_valid_form(text: str) -> None:
    """Signs, fractions, spaces, other units and other digits are refused."""
    with pytest.raises(InvalidInput, match="write an integer and a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "1000000000000d", "999999999999999h", "9" * 5_000 + "s"])
def test_too_long_duration_gives_a_short_error(text: str) -> None:
    """A duration over a hundred years, or with thousands of digits, is refused and not repeated in full."""
    with pytest.raises(InvalidInput) as refused:
        parse_duration(text)
    assert len(str(refused.value)) < 200


@given(st.integers(0, 10_000_000))
def test_durations_survive_formatting(seconds: int) -> None:
    """Parsing a formatted duration, as in the name of a delay topic, returns the same duration."""
    delay = timedelta(seconds=seconds)
    assert parse_duration(format_duration(delay)) == delay


def test_topic_with_absurd_delay_is_no_delay_topic() -> None:
    """A topic with an impossible delay in its name is ignored without an error."""
    delay_topics = DelayTopics(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1)
    assert delay_topics.of("t.jobs.999999999999999h") is None
    assert delay_topics.of("t.jobs.10h") is not None

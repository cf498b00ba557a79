"""Durations as people write them: any text is one, or a sentence that says how they are written."""

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
def test_a_duration_is_an_integer_and_a_unit(text: str, expected: timedelta) -> None:
    """Milliseconds to days, a hundred years at most."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "+5s", "1.5h", "1e3s", "5 s", "5s ", "5S", "nan", "inf", "٣s", "5w"]
)
def test_what_is_none_is_said_with_how_it_is_written(text: str) -> None:
    """No sign, fraction, space, other unit or other digits."""
    with pytest.raises(InvalidInput, match="write an integer and a unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "1000000000000d", "999999999999999h", "9" * 5_000 + "s"])
def test_no_number_is_too_long_to_be_refused(text: str) -> None:
    """More than a hundred years, or than a number can be, is an error like others, and is not repeated at length."""
    with pytest.raises(InvalidInput) as refused:
        parse_duration(text)
    assert len(str(refused.value)) < 200


@given(st.integers(0, 10_000_000))
def test_what_names_a_delay_topic_is_read_back(seconds: int) -> None:
    """The name of a delay topic says how long it is."""
    delay = timedelta(seconds=seconds)
    assert parse_duration(format_duration(delay)) == delay


def test_a_topic_whose_name_no_delay_topic_could_have_is_none() -> None:
    """A topic that somebody made with an absurd delay in its name stops no process that looks at it."""
    delay_topics = DelayTopics(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1)
    assert delay_topics.of("t.jobs.999999999999999h") is None
    assert delay_topics.of("t.jobs.10h") is not None

"""Retry-After in all formats of HTTP, and invalid ones."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.retry_after import wait_ms

pytestmark = pytest.mark.promise(3)

# RFC 9110, 5.6.7, shows this time in all three formats.
THEN = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
BEFORE_MS = int(THEN.timestamp()) * 1_000 - 90_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("120", 120_000),
        (" 120\t", 120_000),
        ("00120", 120_000),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 90_000),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 90_000),
        ("Sun Nov  6 08:49:37 1994", 90_000),
        ("sun, 06 nov 1994 08:49:37 gmt", 90_000),
        ("Sun, 06 Nov 1994 08:48:07 GMT", 0),
        ("Sun, 06 Nov 1994 08:48:06 GMT", 0),  # in the past
        ("Sun, 06 Nov 1994 08:49:60 GMT", 112_000),  # a leap second
    ],
)
def test_valid_retry_after_is_parsed(text: str, expected: int) -> None:
    """Seconds, and dates in the formats IMF-fixdate, RFC 850 and asctime, are parsed."""
    assert wait_ms(text, BEFORE_MS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "120 s",
        "soon",
        "\u0661\u0662",  # digits, but not ASCII
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ],
)
def test_invalid_retry_after_is_ignored(text: str) -> None:
    """An invalid Retry-After asks for no wait."""
    assert wait_ms(text, BEFORE_MS) is None


def test_two_digit_year_is_at_most_fifty_years_ahead() -> None:
    """RFC 9110: a year that would be further ahead is one of the past century."""
    now_ms = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000
    in_76 = wait_ms("Wednesday, 01-Jan-76 00:00:00 GMT", now_ms)
    assert in_76 == int((datetime(2076, 1, 1, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000
    assert wait_ms("Friday, 01-Jan-77 00:00:00 GMT", now_ms) == 0


def test_number_of_any_length_is_parsed() -> None:
    """No number of digits is an error or makes a wait that is too large."""
    assert wait_ms("9" * 30_000, 0) == wait_ms("999999999", 0) == 999_999_999_000


@given(st.integers(10**7, 2 * 10**11), st.integers(0, 2**52))
def test_dates_of_the_standard_library_are_parsed(seconds: int, now_ms: int) -> None:
    """The wait ends at the time of the date."""
    moment = datetime.fromtimestamp(seconds, UTC)
    expected = max(0, int(moment.timestamp()) * 1_000 - now_ms)
    assert wait_ms(format_datetime(moment, usegmt=True), now_ms) == expected


@given(st.text(max_size=60), st.integers(0, 2**52))
def test_no_text_raises(text: str, now_ms: int) -> None:
    """No text that an endpoint sends raises an exception."""
    found = wait_ms(text, now_ms)
    assert found is None or found >= 0

"""Times in the output of commands."""

from __future__ import annotations

import pytest

from deploy.cli.explain import after
from deploy.cli.scanning import ago


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "+0 ms"),
        (44, "+44 ms"),
        (-3, "-3 ms"),
        (1_050, "+1.05 s"),
        (119_990, "+119.99 s"),
        (303_000, "+5.0 min"),
        (90_000_000, "+25.0 h"),
    ],
)
def test_time_is_shown_relative_to_the_event(ms: int, text: str) -> None:
    """Short spans are exact to the millisecond, long ones have a larger unit; clocks may differ."""
    assert after(ms) == text


@pytest.mark.parametrize(
    ("at_ms", "text"), [(0, "10.0 s ago"), (10_000, "0.0 s ago"), (310_000, "in 5 min"), (9_010_000, "in 2.5 h")]
)
def test_time_is_shown_relative_to_now(at_ms: int, text: str) -> None:
    """The past is `… ago`, the future `in …`."""
    assert ago(at_ms, 10_000) == text

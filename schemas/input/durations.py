"""Durations as people write them: `5s`, `1m`, `30m`, `2h`, `24h`. Names of delay topics contain them."""

from __future__ import annotations

import re
from datetime import timedelta

from schemas.catalog.errors import InvalidInput

_PATTERN = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_SHOWN = 60
# Longer durations are mistakes. With this limit a sum with a current time stays in the range of datetime.
_LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """Parse `<integer><ms|s|m|h|d>`, at most a hundred years; InvalidInput for anything else."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise InvalidInput(
            f"{shown!r} is not a duration: write an integer and a unit (ms, s, m, h, d), such as 30s or 5m"
        )
    unit = _UNITS[match[2]]
    if int(match[1]) > _LONGEST // unit:
        raise InvalidInput(f"{text} is more than a hundred years")
    return int(match[1]) * unit


def format_duration(delay: timedelta) -> str:
    """Format whole seconds in the largest unit up to hours that divides them (300 s: `5m`, a day: `24h`)."""
    seconds = int(delay.total_seconds())
    if seconds == 0 or seconds % 60:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds % 3600 else f"{seconds // 3600}h"


def milliseconds(delay: timedelta) -> int:
    """Return the whole milliseconds of a duration."""
    return delay // timedelta(milliseconds=1)

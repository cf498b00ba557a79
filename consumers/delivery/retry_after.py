"""Parses Retry-After (RFC 9110, 10.2.3): seconds, or a date in one of the three formats of HTTP. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME: Final = r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)"
_FORMS: Final = tuple(
    re.compile(form, re.IGNORECASE | re.ASCII)
    for form in (
        # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        rf"[a-z]{{3}}, (?P<d>\d\d) (?P<mon>[a-z]{{3}}) (?P<y>\d{{4}}) {_TIME} GMT",
        # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        rf"[a-z]{{6,9}}, (?P<d>\d\d)-(?P<mon>[a-z]{{3}})-(?P<y>\d\d) {_TIME} GMT",
        # asctime: Sun Nov  6 08:49:37 1994
        rf"[a-z]{{3}} (?P<mon>[a-z]{{3}}) (?P<d>[ \d]\d) {_TIME} (?P<y>\d{{4}})",
    )
)
# Larger numbers are cut to nine digits: 31 years of seconds, longer than any wait that is honoured.
_MAX_DIGITS: Final = 9


def wait_ms(text: str, now_ms: int) -> int | None:
    """Return the wait that the header's `text` asks for, from `now_ms` (Unix ms) on; None: it cannot be read.

    A date that has passed is a wait of 0. A number may have any number of digits.
    """
    text = text.strip(" \t")
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        if len(digits) > _MAX_DIGITS:
            digits = "9" * _MAX_DIGITS
        return int(digits) * 1_000
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is not None:
            at_ms = _unix_ms(found, now_ms)
            return None if at_ms is None else max(0, at_ms - now_ms)
    return None


def _unix_ms(found: re.Match[str], now_ms: int) -> int | None:
    try:
        year, month = int(found["y"]), _MONTHS.index(found["mon"].lower()) + 1
        if len(found["y"]) == 2:
            year += _century(year, now_ms)
        second = min(int(found["s"]), 59)  # a leap second
        at = datetime(year, month, int(found["d"]), int(found["h"]), int(found["m"]), second, tzinfo=UTC)
    except ValueError:
        return None
    return int(at.timestamp()) * 1_000


def _century(year: int, now_ms: int) -> int:
    """Return the century of a two-digit year: the year is at most 50 years ahead (RFC 9110, 5.6.7)."""
    current_year = datetime.fromtimestamp(now_ms / 1_000, UTC).year
    century = current_year - current_year % 100
    return century - 100 if century + year > current_year + 50 else century

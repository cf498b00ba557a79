"""Formats of times in answers. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds_offset(at_ms: int) -> str:
    """Return `2026-01-18T14:20:00.123000+00:00`."""
    seconds, rest_ms = divmod(at_ms, 1_000)
    return f"{_second(seconds)}.{rest_ms:03d}000+00:00"


def milliseconds(at_ms: int) -> str:
    """Return `2026-01-18T14:20:00.123Z`."""
    seconds, rest_ms = divmod(at_ms, 1_000)
    return f"{_second(seconds)}.{rest_ms:03d}Z"


@lru_cache(maxsize=16_384)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]

"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from schemas.catalog.errors import InvalidInput

_MIN_SIMILARITY = 0.6  # of difflib; 1 is identical


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name; None if none is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=_MIN_SIMILARITY)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with a similar known name, or an empty string."""
    suggestion = nearest(name, known)
    return "" if suggestion is None else f"; did you mean {suggestion}?"


def one_of(option: str, value: str, known: Collection[str]) -> str:
    """Return a value of a closed list; InvalidInput has the option, and the most similar value or all values."""
    if value not in known:
        raise InvalidInput(f"{option}: unknown value {value[:100]!r}{did_you_mean(value, known) or among(known)}")
    return value


def among(known: Iterable[str]) -> str:
    """Return `; known: …` with all known names."""
    return f"; known: {', '.join(known)}"

"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MIN_SIMILARITY = 0.6  # of difflib; 1 is identical


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar known name; None if none is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=_MIN_SIMILARITY)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with a similar known name, or an empty string."""
    suggestion = nearest(name, known)
    return "" if suggestion is None else f"; did you mean {suggestion}?"

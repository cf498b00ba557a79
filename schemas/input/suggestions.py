"""Names that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEAR = 0.6  # of difflib: 1 is the same


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like this one; None where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=_NEAR)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for a name that is like a known one, else nothing."""
    meant = nearest(name, known)
    return "" if meant is None else f"; did you mean {meant}?"

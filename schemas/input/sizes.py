"""Sizes as people write them: `262144`, `256KiB`, `1MiB`."""

from __future__ import annotations

import re

from schemas.catalog.errors import InvalidInput

_PATTERN = re.compile(r"(\d{1,18}) ?(B|KiB|MiB|GiB)?")
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_size(text: str) -> int:
    """Parse a number of bytes with an optional unit B, KiB, MiB or GiB; InvalidInput for anything else."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text!r} is not a size: write bytes, or a number and KiB, MiB or GiB, such as 256KiB")
    return int(match[1]) * _UNITS[match[2] or "B"]

"""Roles of tests and benchmarks run compiled where `SIGNPOST_TEST_COMPILED` names a copy that `make compiled` built."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.compiling import build, environment, lacking

_VARIABLE: Final = "SIGNPOST_TEST_COMPILED"


def role_environment() -> dict[str, str]:
    """Return what has roles run the copy that was named; nothing, where none was."""
    folder = os.environ.get(_VARIABLE)
    return environment(Path(folder).resolve()) if folder else {}


@contextmanager
def compiled(*, wanted: bool = True) -> Iterator[bool]:
    """Have roles that start meanwhile run compiled, or as they are; False where nothing can be compiled."""
    given = os.environ.pop(_VARIABLE, None)
    reason = lacking() if wanted else None
    if reason:
        print(f"roles run as they are: {reason}", file=sys.stderr)
    elif wanted:
        os.environ[_VARIABLE] = given or str(build())
    try:
        yield wanted and not reason
    finally:
        os.environ.pop(_VARIABLE, None)
        if given is not None:
            os.environ[_VARIABLE] = given

"""Which tests go together to one process, and in which order, when pytest-xdist runs them in several.

Tests with a broker come first, one by one, as they take the longest: what is left for the end is short, so that no
process waits for another. Files without one go whole to a process, and so does a file whose tests share a fixture.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pytest

# By what one test of the folder takes.
FOLDERS: Final = ("tests/faults/", "tests/broker/", "tests/contracts/", "tests/unit/")
ONE_BY_ONE: Final = FOLDERS[:2]
_SHARED: Final = 'scope="module"'


def unit_of(test: str, root: Path) -> str:
    """Return the name of the unit of work that a test, given by its node id, belongs to: itself, or its file."""
    file = test.partition("::")[0]
    return test if file.startswith(ONE_BY_ONE) and not _shares(root / file) else file


def place_of(unit: str) -> tuple[int, bool]:
    """Return what sorts units of work so that those that take the longest come first."""
    folder = next((place for place, folder in enumerate(FOLDERS) if unit.startswith(folder)), len(FOLDERS))
    return folder, "::" in unit  # a whole file is more than one test


@cache
def _shares(file: Path) -> bool:
    return _SHARED in file.read_text(encoding="utf-8")


class Spreading:
    """A plugin of the process that spreads the tests; the others sort theirs by `place_of` before they begin."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object:
        """Hand out one unit after the other, the next one to whichever process is about to be done."""
        from tests.support.scheduler import Spread  # noqa: PLC0415  # only where there is pytest-xdist to import it

        config.option.loadscopereorder = False  # the order of the tests is the order of the units
        return Spread(config, log)

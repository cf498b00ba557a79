"""Units of work and their order for pytest-xdist with several processes.

Tests with a broker take the longest and come first, one by one, so that short units are left for the end and no process
idles. A file without broker tests is one unit, as is a file or a folder whose tests share a fixture.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import pytest

# By the duration of one test, longest first.
FOLDERS: Final = ("tests/faults/", "tests/broker/", "tests/contracts/", "tests/unit/")
ONE_BY_ONE: Final = FOLDERS[:2]
_SHARED_BY_FILE: Final = 'scope="module"'
_SHARED_BY_FOLDER: Final = 'scope="package"'


def unit_of(test: str, root: Path) -> str:
    """Return the unit of work of a test, given by its node id: the test itself, its file, or its folder."""
    file = test.partition("::")[0]
    if not file.startswith(ONE_BY_ONE):
        return file
    folder = file.rpartition("/")[0]
    if _has(root / folder / "conftest.py", _SHARED_BY_FOLDER):
        return folder
    return file if _has(root / file, _SHARED_BY_FILE) else test


def place_of(unit: str) -> tuple[int, bool]:
    """Return the sort key of a unit of work: longest first."""
    folder = next((place for place, folder in enumerate(FOLDERS) if unit.startswith(folder)), len(FOLDERS))
    return folder, "::" in unit  # a whole file is more than one test


@cache
def _has(file: Path, text: str) -> bool:
    return file.is_file() and text in file.read_text(encoding="utf-8")


class Spreading:
    """A plugin of the controlling process; test processes sort their tests by `place_of` before they start."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object:
        """Return the scheduler that assigns units in order."""
        from tests.support.scheduler import Spread  # noqa: PLC0415  # pytest-xdist may be missing

        config.option.loadscopereorder = False  # the order of the tests is the order of the units
        return Spread(config, log)

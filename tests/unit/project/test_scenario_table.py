"""The table at the end of a test run in one process or several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TEST = """
import pytest
from tests.support.table import Row

@pytest.mark.parametrize("number", [1, 2])
def test_one(number, record_property):
    Row(f"row {number}", 1_000, 10, 0, 0, (40.0, 44.0), (5_000.0, 4_500.0), 2.25).show(record_property)
    assert number == 1
"""
_CONFTEST = "from tests.conftest import pytest_terminal_summary\n"


@pytest.mark.parametrize("processes", ["0", "2"])
def test_every_scenario_has_a_row_at_the_end(tmp_path: Path, processes: str) -> None:
    """The main process prints all rows, those of failed tests included, with comparisons as a share."""
    (tmp_path / "test_rows.py").write_text(_TEST)
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n", processes, "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "| row " in line]
    assert sorted(rows) == [
        [f"row {number}", "1,000", "10", "0", "0", "40 ms", "44 ms (+10 %)", "5,000", "4,500 (-10 %)", "2.2"]
        for number in (1, 2)
    ]

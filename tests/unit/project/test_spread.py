"""Tests in several processes: grouping, order and crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.spread import place_of, unit_of

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
from tests.support.spread import Spreading

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Spreading())
"""


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        (
            "tests/unit/delivery/partitions/test_progress.py::test_x[a::b]",
            "tests/unit/delivery/partitions/test_progress.py",
        ),
        ("tests/faults/test_kills.py::test_x[1]", "tests/faults/test_kills.py::test_x[1]"),
        ("tests/broker/test_main_job.py::test_x", "tests/broker/test_main_job.py"),
        ("tests/broker/api/test_clients.py::test_x[1]", "tests/broker/api"),
    ],
)
def test_tests_are_grouped_into_units(test: str, unit: str) -> None:
    """Tests with a broker are single units unless their file or folder shares a fixture; other files are units."""
    assert unit_of(test, ROOT) == unit


def test_long_units_come_first() -> None:
    """Fault tests come first, then other broker tests, whole files before single tests, and unit tests last."""
    units = [
        "tests/unit/test_a.py",
        "tests/broker/test_b.py::test_x",
        "tests/broker/test_c.py",
        "tests/faults/test_d.py",
    ]
    assert sorted(units, key=place_of) == list(reversed(units))


def test_crash_fails_one_test(tmp_path: Path) -> None:
    """If a test crashes its process, only that test fails: all others run once, and the run ends."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    crashing = "import os\ndef test_1(): pass\ndef test_2(): os._exit(1)\ndef test_3(): pass\n"
    (tmp_path / "test_a.py").write_text(crashing)
    for name in "bcd":
        (tmp_path / f"test_{name}.py").write_text("def test_1(): pass\ndef test_2(): pass\n")
    command = [sys.executable, "-m", "pytest", "-n2", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    run = subprocess.run(
        [*command, f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 8 passed" in run.stdout, run.stdout + run.stderr

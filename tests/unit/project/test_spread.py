"""Tests in several processes: what goes together, what comes first, and what becomes of a crash."""

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
    ],
)
def test_what_goes_to_one_process(test: str, unit: str) -> None:
    """Tests with a broker go one by one, unless they share a fixture of their file; all others file by file."""
    assert unit_of(test, ROOT) == unit


def test_what_takes_long_comes_first() -> None:
    """Faults come before what else needs a broker, whole files before single tests, and what needs none at the end."""
    units = [
        "tests/unit/test_a.py",
        "tests/broker/test_b.py::test_x",
        "tests/broker/test_c.py",
        "tests/faults/test_d.py",
    ]
    assert sorted(units, key=place_of) == list(reversed(units))


def test_a_process_that_crashes_fails_one_test(tmp_path: Path) -> None:
    """When a test takes its process down it is the one that fails: all others run, once, and the run ends."""
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

"""`make setup` shows which package it is at."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "requirements" / "show-progress"
PIP = """\
Collecting annotated-types==0.7.0 (from -r requirements/dev.txt (line 1))
  Using cached annotated_types-0.7.0-py3-none-any.whl (13 kB)
Ignoring colorama: markers 'sys_platform == "win32"' don't match your environment
Collecting anyio==4.12.0 (from -r requirements/dev.txt (line 4))
  Downloading anyio-4.12.0-py3-none-any.whl (113 kB)
"""
END = """\
Installing collected packages: annotated-types, anyio
Successfully installed annotated-types-0.7.0 anyio-4.12.0
"""


def test_each_package_is_shown_when_pip_begins_with_it(tmp_path: Path) -> None:
    """A line names the package while pip still works on it; the last line has the time that it really took."""
    shown = tmp_path / "shown"
    with (
        shown.open("wb") as output,
        subprocess.Popen(["bash", SCRIPT], stdin=subprocess.PIPE, stdout=output, text=True) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(PIP)
        process.stdin.flush()
        wait_until(lambda: len(shown.read_text().splitlines()) == 2, what="pip has not ended, and both are shown")
        process.stdin.write(END)
    lines = shown.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [
        "setup: package 1: annotated-types==0.7.0",
        "setup: package 2: anyio==4.12.0",
        "setup: installing 2 packages",
    ]
    assert re.fullmatch(r"setup: 2 packages installed, in \d+ s", lines[3])


def test_setup_promises_no_duration() -> None:
    """How long the installation takes depends on the machine and its network: nothing says it in advance."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    setup = makefile.partition("$(READY): ")[2].partition("\n\n")[0]
    assert "requirements/show-progress" in setup
    assert not re.search(r"minute|second", setup)

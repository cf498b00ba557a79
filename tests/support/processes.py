"""Processes: whether a pid runs, and Python code in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie, which has ended but was not waited for, does not."""
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(stat.strip()) and not stat.strip().startswith("Z")


@contextmanager
def python(
    code: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process with standard output in a pipe; kill it at the end."""
    command = [sys.executable, "-c", dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process of `python` prints; AssertionError if it ends first."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the process ended before it printed the line"
    return line.strip()

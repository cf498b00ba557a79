"""Prometheus' own check of metrics (`promtool check metrics`), for tests."""

from __future__ import annotations

import subprocess

from tests.support.parts import need


def problems(text: bytes) -> str:
    """Return what promtool finds wrong with metrics in the text format; empty: nothing."""
    need("promtool")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
    found = (done.stdout + done.stderr).decode()
    assert bool(found) == bool(done.returncode), f"promtool: exit code {done.returncode}: {found}"
    return found

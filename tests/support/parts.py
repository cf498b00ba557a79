"""Optional parts of the machine: a test that needs a missing part is skipped, and the skip names the part.

SIGNPOST_TEST_REQUIRE=netns,node,go,curl,docker,jdk,postgres,sphinx,prometheus,promtool,cc,otelcol (or some of them)
makes a missing part a failure. A broker is not optional: without one the tests that need it always fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import pytest

from deploy.dev import container
from hatch_build import missing_tools
from tests.support.postgres import programs

REQUIRE: Final = "SIGNPOST_TEST_REQUIRE"
# Names of the OpenTelemetry Collector's program, by its distributions.
COLLECTORS: Final = ("otelcol", "otelcol-contrib", "otelcorecol")


def _runs(*command: str) -> bool:
    """Return whether a short command exits with 0."""
    if shutil.which(command[0]) is None:
        return False
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


PARTS: Final[Mapping[str, tuple[Callable[[], bool], str]]] = {
    "netns": (
        lambda: (
            shutil.which("ip") is not None
            and (_runs("unshare", "-n", "-m", "true") or _runs("unshare", "-r", "-n", "-m", "true"))
        ),
        "network namespaces (Linux, `unshare -n`, as root or with user namespaces allowed) and `ip`",
    ),
    "node": (lambda: _runs("node", "--version"), "Node.js (`node`)"),
    "go": (lambda: _runs("go", "version"), "Go (`go`)"),
    "curl": (lambda: _runs("curl", "--version"), "curl"),
    "docker": (lambda: container.refusal() is None, f"a Docker daemon that has, or can pull, {container.IMAGE}"),
    "sphinx": (lambda: importlib.util.find_spec("sphinx") is not None, "Sphinx (`make docs` installs it)"),
    "jdk": (lambda: _runs("java", "-version") and _runs("javac", "-version"), "a JDK (`java` and `javac`)"),
    "postgres": (
        lambda: programs() is not None,
        "PostgreSQL's server (`initdb`; on Debian: apt-get install postgresql)",
    ),
    "prometheus": (
        lambda: _runs("prometheus", "--version"),
        "Prometheus (`prometheus`; on Debian: apt-get install --no-install-recommends prometheus)",
    ),
    "promtool": (
        lambda: _runs("promtool", "--version"),
        "Prometheus' `promtool` (on Debian: apt-get install --no-install-recommends prometheus)",
    ),
    "otelcol": (
        lambda: any(_runs(name, "--help") for name in COLLECTORS),
        f"an OpenTelemetry Collector ({', '.join(f'`{name}`' for name in COLLECTORS)})",
    ),
    "cc": (lambda: missing_tools() is None, "a C compiler (`cc`), with Python's headers"),
}


@cache
def _is_there(part: str) -> bool:
    return PARTS[part][0]()


def required(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the required parts; UsageError for an unknown name."""
    names = {name.strip() for name in environment.get(REQUIRE, "").split(",")} - {""}
    if unknown := names - PARTS.keys():
        raise pytest.UsageError(f"{REQUIRE}: no such part: {', '.join(sorted(unknown))} (there are {', '.join(PARTS)})")
    return frozenset(names)


def need(*parts: str) -> None:
    """Skip the calling test if a part is missing; fail it if the part is required."""
    for part in parts:
        if not _is_there(part):
            missing = f"missing part {part}: {PARTS[part][1]}"
            if part in required():
                pytest.fail(f"{missing}; {REQUIRE} requires it", pytrace=False)
            pytest.skip(missing)

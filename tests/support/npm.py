"""npm packages for tests, installed from their lock file, once for all runs with this lock file."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.parts import required


def installed(source: Path) -> Path:
    """Copy the files of `source` into a cache of this user and install its packages there; return that folder.

    If npm cannot install them the test is skipped, or fails if `node` is required.
    """
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signpost-tests"
    folder = cache / f"{source.name}-{lock[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # test processes of one run share the cache
        for file in source.iterdir():
            if file.is_file():
                shutil.copy(file, folder / file.name)
        if not (folder / "node_modules" / ".package-lock.json").exists():
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
            if done.returncode:
                problem = f"npm cannot install the packages of {source.name}: {done.stderr.strip()[:200]}"
                if "node" in required():
                    pytest.fail(problem, pytrace=False)
                pytest.skip(problem)
    return folder

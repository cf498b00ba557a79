"""Packages of npm that tests need: installed as their lock says, once for all runs with this lock."""

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
    """Install the packages of `source`'s lock into a cache of this user, beside its other files; return that folder.

    A test whose packages npm cannot get is skipped, or fails where `node` is required.
    """
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signpost-tests"
    folder = cache / f"{source.name}-{lock[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # processes of one run
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

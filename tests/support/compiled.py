"""Compiled roles for tests and benchmarks: `SIGNPOST_TEST_COMPILED` names a folder that `make compiled` made.

The folder contains the unpacked compiled wheel. It is rebuilt when a source file, Python, mypy or pyproject.toml has
changed, so that a compiled module never hides a later edit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hatch_build import VARIABLE, missing_tools
from schemas.catalog.errors import Unavailable

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "compiled"
_COMPILED: Final = "SIGNPOST_TEST_COMPILED"
_PACKAGES: Final = ("schemas", "producers", "consumers", "deploy")
_STAMP: Final = "compiled-from"


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which Python runs the packages of a folder, in any working directory."""
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def role_environment() -> dict[str, str]:
    """Return the environment of compiled roles; empty unless `SIGNPOST_TEST_COMPILED` names a folder."""
    folder = os.environ.get(_COMPILED)
    return environment(Path(folder).resolve()) if folder else {}


@contextmanager
def compiled(*, wanted: bool = True) -> Iterator[bool]:
    """Run roles that start within the block compiled if `wanted`, else interpreted; yield whether they are."""
    given = os.environ.pop(_COMPILED, None)
    reason = missing_tools() if wanted else None
    if reason:
        print(f"roles run interpreted: {reason}", file=sys.stderr)
    elif wanted:
        os.environ[_COMPILED] = given or str(unpacked())
    try:
        yield wanted and not reason
    finally:
        os.environ.pop(_COMPILED, None)
        if given is not None:
            os.environ[_COMPILED] = given


def unpacked(folder: Path = FOLDER) -> Path:
    """Return a folder with the compiled wheel of the present sources; Unavailable if it cannot be built."""
    digest = sources_digest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as made:
        wheel = build_wheel(ROOT, Path(made), {VARIABLE: "1"})
        zipfile.ZipFile(wheel).extractall(Path(made, "packages"))
        Path(made, "packages", _STAMP).write_text(digest)
        shutil.rmtree(folder, ignore_errors=True)
        Path(made, "packages").rename(folder)
    return folder


def build_wheel(root: Path, into: Path, variables: Mapping[str, str]) -> Path:
    """Build a wheel of a source tree with hatchling and return its path; Unavailable with hatchling's output."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into)]
    env = {name: value for name, value in os.environ.items() if name != VARIABLE} | variables
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise Unavailable(done.stdout + done.stderr)
    (wheel,) = into.glob("*.whl")
    return wheel


def sources_digest() -> str:
    """Return a digest of everything that affects the compiled modules."""
    level = os.environ.get("MYPYC_OPT_LEVEL", "")
    found = hashlib.sha256(repr((sys.version, sys.executable, metadata.version("mypy"), level)).encode())
    files = [ROOT / "pyproject.toml", ROOT / "hatch_build.py"]
    for package in _PACKAGES:
        files += (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted(files):
        found.update(str(path.relative_to(ROOT)).encode())
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    try:
        print(f"compiled: run `PYTHONSAFEPATH=1 PYTHONPATH={os.path.relpath(unpacked())} .venv/bin/signpost`")
    except Unavailable as error:
        sys.exit(f"compiled: {error}")

"""`make compiled`: a copy of the packages whose hot modules are C, made by mypyc. The same code, a quarter less CPU.

It is a folder of its own, whole, so that a compiled module never stands before one that was edited since. It is built
anew when a source, Python, mypy or the list of modules has changed. `<folder>/signpost` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from schemas.errors import Unavailable

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "build" / "compiled"
_PACKAGES: Final = ("schemas", "producers", "consumers", "deploy")
# What is done for each job, in one group: classes of one group know each other's fields and methods. Left out is what
# mypyc does not take (classes of pydantic and pycurl, a dataclass that is generic) and what is done now and then; above
# all what talks to OpenSSL and the producer: what a library returns against its type is a TypeError in compiled code,
# such as the reason of an SSLError, None where typeshed says str.
_DELIVERY: Final = (
    "answer assignment carrier committer connections dispatch endpoint failures health judging lane loop name_queue "
    "observer outbox outcome_log ports progress reader recorder resolver sending tiers transport verdict work"
)
_DIRECT: Final = "__init__ carrier exchange link pool response wire"
_SCHEMAS: Final = "avro_binary codec delivery durations egress failures header_lines header_values job_record sender"
HOT: Final = (
    *(f"schemas/{name}.py" for name in _SCHEMAS.split()),
    *(f"consumers/delivery/{name}.py" for name in _DELIVERY.split()),
    *(f"consumers/delivery/direct/{name}.py" for name in _DIRECT.split()),
    "consumers/delivery/admission/*.py",
    "consumers/runtime/dead_letters.py",
    "consumers/runtime/metrics.py",
)
_STAMP: Final = "compiled-from"
_OUTPUT_SHOWN: Final = 4_000
# Started by this, `-m` does not look for packages in the working directory first, and children are compiled as well.
_LAUNCHER: Final = """#!{python}
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
os.environ["PYTHONSAFEPATH"] = "1"
sys.path.insert(0, here)

from deploy.cli.main import run

run()
"""


def environment(folder: Path) -> dict[str, str]:
    """Return what has `python -m deploy.cli.main` run the copy in a folder, wherever it is started."""
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


def lacking() -> str | None:
    """Return what this machine lacks to compile, None if nothing."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(command) is None:
        return f"there is no C compiler ({command})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's headers are not installed (on Debian and Ubuntu: python3-dev)"
    absent = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    return f"{' and '.join(absent)} of requirements/dev.txt is not installed" if absent else None


def build(folder: Path = FOLDER, modules: Sequence[str] = HOT, *, level: int = 3) -> Path:
    """Have the copy in a folder; it is made where it is missing, or not of these sources.

    Unavailable if it cannot be compiled. `level` is that of the C compiler's optimisation.
    """
    digest = _digest(modules, level)
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return folder
    if reason := lacking():
        raise Unavailable(f"nothing is compiled: {reason}")
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        _copy(made)
        _compile(made, list(_found(modules)), level)
        (made / _STAMP).write_text(digest)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _found(modules: Sequence[str]) -> Iterator[str]:
    for pattern in modules:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT))


def _copy(folder: Path) -> None:
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    launcher = folder / "signpost"
    launcher.write_text(_LAUNCHER.format(python=sys.executable))
    launcher.chmod(0o755)


def _compile(folder: Path, modules: list[str], level: int) -> None:
    # mypy's settings are those of the checks; the packages that these name give way to the modules named here.
    command = [sys.executable, "-m", "mypyc", "--config-file", str(ROOT / "pyproject.toml"), *modules]
    env = os.environ | {"MYPYC_OPT_LEVEL": str(level), "MYPYC_DEBUG_LEVEL": "0", "PYTHONSAFEPATH": "1"}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode:
        raise Unavailable(f"mypyc: {(ended.stdout + ended.stderr)[-_OUTPUT_SHOWN:]}")
    for left in ("build", ".mypy_cache"):
        shutil.rmtree(folder / left, ignore_errors=True)


def _digest(modules: Sequence[str], level: int) -> str:
    """Name what a copy is made of; another name: it is to be made anew."""
    found = hashlib.sha256(
        repr((sys.version, sys.executable, metadata.version("mypy"), tuple(modules), level)).encode()
    )
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(str(path.relative_to(ROOT)).encode())
                found.update(path.read_bytes())
    return found.hexdigest()


def main() -> None:
    """Build the copy, and say how it is run."""
    parser = argparse.ArgumentParser(prog="python -m deploy.compiling")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it goes (default: build/compiled)")
    folder = parser.parse_args().folder.resolve()
    began = time.monotonic()
    print(f"compiled: {len(list(_found(HOT)))} modules into {folder}, one to three minutes", flush=True)
    try:
        build(folder)
    except Unavailable as error:
        sys.exit(f"compiled: {error}")
    print(f"compiled: after {time.monotonic() - began:.0f} s; run it by {os.path.relpath(folder)}/signpost")


if __name__ == "__main__":
    main()

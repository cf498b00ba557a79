"""Wheels: compiled and equivalent to the sources with SIGNPOST_MYPYC=1, otherwise pure Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from schemas.catalog.errors import Unavailable
from tests.support.compiled import ROOT, build_wheel, environment, sources_digest, unpacked
from tests.support.parts import need

# A few small modules: functions, a class with slots, a dataclass.
_FEW: Final = (
    '"schemas/avro/binary.py", "consumers/delivery/partitions/progress.py", '
    '"consumers/delivery/admission/rate_limit.py"'
)
_FAST: Final = {"SIGNPOST_MYPYC": "1", "MYPYC_OPT_LEVEL": "0"}
# Tests that read source files.
_OF_SOURCE: Final = ("compiled", "docs", "house", "log_events", "readme", "reasons", "site", "spread")
# Tests that pass stand-ins to classes: compiled classes accept only the declared types.
_STAND_INS: Final = (
    "awaited_subscriptions",
    "confirms",
    "endpoint_report",
    "job_trace",
    "partition_model",
    "recovery_model",
    "scheduler_model",
    "stall",
)
_WHERE: Final = (
    "import schemas.avro.binary as found, consumers.service.compiled as c; print(found.__file__, c.is_compiled())"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree with a short list of hot modules."""
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("schemas", "producers", "consumers", "deploy"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    list_modules(root, _FEW)
    return root


def list_modules(root: Path, modules: str) -> None:
    """Set the list of compiled modules of a tree."""
    text = (ROOT / "pyproject.toml").read_text()
    text = re.sub(r"^compiled = \[.*?^\]", f"compiled = [{modules}]", text, flags=re.DOTALL | re.MULTILINE)
    (root / "pyproject.toml").write_text(text)


def run(folder: Path, *arguments: str) -> str:
    """Run Python with the packages of a folder; everything else comes from the sources."""
    path = os.pathsep.join((environment(folder)["PYTHONPATH"], str(ROOT)))
    env = os.environ | environment(folder) | {"PYTHONPATH": path}
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4_000:]
    return ended.stdout


def run_tests(folder: Path, *tests: str) -> None:
    """Run tests against the packages of a folder."""
    run(folder, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *tests)


def test_compiled_modules_pass_their_tests(tree: Path, tmp_path: Path) -> None:
    """A compiled wheel is for this Python and this system, and its modules run and pass their tests."""
    need("cc")
    wheel = build_wheel(tree, tmp_path / "wheel", _FAST)
    assert f"-cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-" in wheel.name
    assert not list(tree.rglob("*.so"))

    folder = tmp_path / "packages"
    zipfile.ZipFile(wheel).extractall(folder)
    where, is_compiled = run(folder, "-c", _WHERE).split()
    assert Path(where).is_relative_to(folder)
    assert (Path(where).suffix, is_compiled) == (".so", "True")
    run_tests(folder, "tests/unit/delivery/partitions/test_progress.py")


@pytest.mark.long
def test_compiled_wheels_are_reproducible(tree: Path, tmp_path: Path) -> None:
    """Two builds of the same sources give the same bytes."""
    need("cc")
    first, second = (build_wheel(tree, tmp_path / name, _FAST) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.long
def test_all_hot_modules_pass_the_unit_tests(tmp_path: Path) -> None:
    """The result of `make compiled` passes the unit tests, and its program starts."""
    need("cc")
    folder = unpacked(tmp_path / "packages")

    assert run(folder, "-m", "deploy.cli.main", "--version").startswith("signpost ")
    others = [f"--ignore-glob=*/test_{name}.py" for name in (*_OF_SOURCE, *_STAND_INS)]
    run_tests(folder, "tests/unit", "-m", "not long", *others)


def test_wheel_is_pure_by_default(tree: Path, tmp_path: Path) -> None:
    """A default wheel holds only Python and is for every system."""
    wheel = build_wheel(tree, tmp_path / "wheel", {})
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_packages_have_dashboards_and_alerts(tree: Path, tmp_path: Path, target: str) -> None:
    """An installation by a wheel, and the source package, have the dashboards and the rules for Prometheus."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(tmp_path)]
    env = os.environ | {"SIGNPOST_MYPYC": "0"}
    subprocess.run(command, cwd=tree, env=env, check=True, capture_output=True)
    (package,) = [*tmp_path.glob("*.whl"), *tmp_path.glob("*.tar.gz")]
    if target == "wheel":
        names = set(zipfile.ZipFile(package).namelist())
    else:
        with tarfile.open(package) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
    for folder, pattern in (("grafana", "*.json"), ("prometheus", "*.yml")):
        wanted = {f"deploy/{folder}/{path.name}" for path in (ROOT / "deploy" / folder).glob(pattern)}
        assert wanted
        assert wanted <= names


def test_missing_hot_module_is_named(tree: Path, tmp_path: Path) -> None:
    """A pattern of the list without a module ends the build: that module would silently stay interpreted."""
    need("cc")
    list_modules(tree, f'{_FEW}, "schemas/moved.py"')

    with pytest.raises(Unavailable, match=r"compiled: there is no module schemas/moved\.py; was it moved\?"):
        build_wheel(tree, tmp_path / "wheel", _FAST)
    assert not list(tmp_path.rglob("*.whl"))


def test_no_wheel_is_built_without_a_compiler(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler gets an error, and no wheel of uncompiled modules."""
    monkeypatch.setenv("CC", "no-such-compiler")

    with pytest.raises(Unavailable, match=r"cannot compile: there is no C compiler \(no-such-compiler\)"):
        build_wheel(tree, tmp_path / "wheel", _FAST)
    assert not list(tmp_path.rglob("*.whl"))


def test_compiled_folder_is_reused_only_for_the_same_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are compiled once; a folder of other sources is replaced, since it would hide later edits."""
    monkeypatch.setenv("CC", "no-such-compiler")
    folder = tmp_path / "packages"
    folder.mkdir()
    stamp = folder / "compiled-from"

    stamp.write_text(sources_digest())
    assert unpacked(folder) == folder

    stamp.write_text("something else")
    with pytest.raises(Unavailable, match="cannot compile"):
        unpacked(folder)

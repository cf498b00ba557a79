"""The compiled copy (`make compiled`) does the same as the code that it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from deploy import compiling
from schemas.errors import Unavailable
from tests.support.parts import need

# Small, and of each kind: functions, a class with slots, a dataclass.
_FEW: Final = ("schemas/avro_binary.py", "consumers/delivery/progress.py", "consumers/delivery/admission/rate_limit.py")
# What looks at source files.
_OF_SOURCE: Final = ("compiled", "house", "readme", "reasons", "site", "spread")
# What hands stand-ins to classes: compiled ones take their parts only.
_STAND_INS: Final = ("awaited_subscriptions", "confirms", "lane_model", "overview", "standstill", "takeover_model")
_WHERE: Final = (
    "import schemas.avro_binary as found, consumers.runtime.compiled as c; print(found.__file__, c.is_compiled())"
)


def run(folder: Path, *arguments: str) -> str:
    """Run Python with the packages of a copy, in the folder of the source."""
    path = os.pathsep.join((compiling.environment(folder)["PYTHONPATH"], str(compiling.ROOT)))
    env = os.environ | compiling.environment(folder) | {"PYTHONPATH": path}
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, env=env, cwd=compiling.ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-4_000:]
    return ended.stdout


def run_tests(folder: Path, *tests: str) -> None:
    """Run tests against a copy."""
    run(folder, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *tests)


def test_compiled_modules_do_the_same(tmp_path: Path) -> None:
    """A copy of which a few modules are compiled is what runs, and passes their tests; built once."""
    need("cc")
    folder = compiling.build(tmp_path / "copy", _FEW, level=0)

    where, is_compiled = run(folder, "-c", _WHERE).split()
    assert Path(where).is_relative_to(folder)
    assert (Path(where).suffix, is_compiled) == (".so", "True")
    run_tests(folder, "tests/unit/test_progress.py")

    inode = folder.stat().st_ino
    assert compiling.build(folder, _FEW, level=0).stat().st_ino == inode


@pytest.mark.long
def test_all_hot_modules_do_the_same(tmp_path: Path) -> None:
    """The copy that `make compiled` builds passes the unit tests, and its program starts."""
    need("cc")
    folder = compiling.build(tmp_path / "copy")

    said = subprocess.run([folder / "signpost", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("signpost ")
    others = [f"--ignore=tests/unit/test_{name}.py" for name in (*_OF_SOURCE, *_STAND_INS)]
    run_tests(folder, "tests/unit", "-m", "not long", *others)


def test_without_a_compiler_nothing_is_built_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler is told what it lacks, and that is no failure of anything else."""
    monkeypatch.setenv("CC", "no-such-compiler")

    with pytest.raises(Unavailable, match=r"there is no C compiler \(no-such-compiler\)"):
        compiling.build(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_not_of_a_copys_sources_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of other sources is not used: it would be built anew."""
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "compiled-from").write_text("something else")
    monkeypatch.setenv("CC", "no-such-compiler")

    with pytest.raises(Unavailable, match="nothing is compiled"):
        compiling.build(folder)

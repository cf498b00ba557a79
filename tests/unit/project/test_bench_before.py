"""`make bench-before` starts and compiles another commit by that commit's own means."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.catalog.errors import Unavailable
from tests.bench.before import Checkout, Figures, check_packages, compiled_packages, main, table
from tests.support.compiled import ROOT


def tree_of(folder: Path, **files: str) -> Path:
    """Return a folder with these files; `__` in a name stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_suffix(".toml" if path.name == "pyproject" else ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return folder


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("slot: Annotated[int | None] = None,", ["deliver", "--slot", "0"]),
        ("instance: Annotated[int | None] = None,", ["deliver", "--instance", "0"]),
        ("listen: Annotated[str | None] = None,", ["deliver"]),
    ],
)
def test_roles_start_with_the_options_of_their_commit(tmp_path: Path, option: str, command: list[str]) -> None:
    """A process gets its number by the option that the commit has, or none."""
    tree = tree_of(tmp_path, deploy__cli__deliver=f"def _deliver(\n    {option}\n) -> None: ...\n")
    assert Checkout(tree, tree).command("deliver") == command


def test_roles_of_this_checkout_start_as_numbered_processes() -> None:
    """The present commands have the option that `make bench-before` looks for."""
    assert Checkout(ROOT, ROOT).command("deliver") == ["deliver", "--instance", "0"]
    assert Checkout(ROOT, ROOT).command("router") == ["router", "--instance", "0"]


def test_packages_of_another_folder_are_not_mistaken(tmp_path: Path) -> None:
    """A folder whose packages Python does not import is refused before anything is measured."""
    Checkout(ROOT, ROOT).check()
    with pytest.raises(Unavailable, match="do not start"):
        Checkout(tmp_path, tmp_path).check()


def test_missing_dependency_is_named_with_its_command(tmp_path: Path) -> None:
    """A commit whose dependencies this environment lacks is not run; the message has the command that installs them."""
    tree = tree_of(tmp_path, pyproject='[project]\ndependencies = ["orjson>=3.13", "never-made>=7.49"]\n')
    with pytest.raises(Unavailable, match=r"commit abc .* -m pip install 'never-made>=7\.49'$"):
        check_packages("abc", tree)


def test_old_commit_is_compiled_by_its_own_command(tmp_path: Path) -> None:
    """A tree with deploy/compiling.py is compiled by `python -m deploy.compiling --folder`."""
    code = (
        "import pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('--folder') + 1])\n"
        "folder.mkdir()\n"
        "(folder / 'hot.so').touch()\n"
    )
    tree = tree_of(tmp_path / "tree", deploy__compiling=code)
    assert [path.name for path in compiled_packages(tree, tmp_path).iterdir()] == ["hot.so"]


def test_failed_build_is_reported(tmp_path: Path) -> None:
    """A build that fails, makes no compiled module, or does not exist is an error with its reason."""
    with pytest.raises(Unavailable, match=r"neither hatch_build\.py nor deploy/compiling\.py"):
        compiled_packages(tmp_path, tmp_path)
    tree = tree_of(tmp_path / "failing", deploy__compiling="raise SystemExit('no compiler')\n")
    with pytest.raises(Unavailable, match="no compiler"):
        compiled_packages(tree, tmp_path)
    tree = tree_of(tmp_path / "pure", deploy__compiling="")
    with pytest.raises(Unavailable, match="made no compiled modules"):
        compiled_packages(tree, tmp_path)


def test_table_has_each_round_and_the_ratios_of_medians() -> None:
    """The table shows rate and CPU per job of each round and side, the medians, and the ratios of the medians."""
    found: dict[str, list[Figures]] = {
        "before": [{"rate": 18_000, "cpu_us": 40.0}, {"rate": 20_000, "cpu_us": 42.0}],
        "now": [{"rate": 19_000, "cpu_us": 36.0}, {"rate": 38_000, "cpu_us": 37.8}],
    }
    lines = [line.split() for line in table("router, compiled", "abc", found).splitlines()]
    assert lines[2:5] == [
        ["1", "18,000", "40.0", "19,000", "36.0"],
        ["2", "20,000", "42.0", "38,000", "37.8"],
        ["median", "19,000", "41.0", "28,500", "36.9"],
    ]
    assert " ".join(lines[5]) == "now / before: rate 1.50, CPU per job 0.90"


def test_missing_nginx_is_reported_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without nginx the command ends with what to install, before it compiles or measures."""
    monkeypatch.setattr("sys.argv", ["before", "HEAD"])
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    with pytest.raises(SystemExit, match=r"bench-before: nginx.*apt-get install nginx"):
        main()
    assert capsys.readouterr().out == ""

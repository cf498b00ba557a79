"""Rules of the project: sizes, layers, docstrings, dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "producers", "consumers", "deploy", "tests")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
# Schemas use no broker, no network, no clock and no processes.
IMPURE = {"asyncio", "confluent_kafka", "http", "httpx", "pycares", "socket", "subprocess", "time"}
# In parts, so that this file does not match its own patterns.
REGISTRIES = [
    re.compile(re.escape(".".join(parts)))
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
        ("registry", "yarnpkg", "com"),
    )
] + [re.compile("--" + "(extra-)?index" + "-url")]


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions and methods of a module."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported(path: Path) -> set[str]:
    """Return the top-level names of the packages that a module imports."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def name(path: Path) -> str:
    """Return the path of a module relative to the repository."""
    return str(path.relative_to(ROOT))


def tracked() -> list[Path]:
    """Return the tracked files of the project; outside a repository, the files of its packages."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [path for line in listing.stdout.split("\0") if line and (path := ROOT / line).is_file()]
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_and_functions_are_short(path: Path) -> None:
    """A module has at most 500 lines, a function at most 60 without its docstring."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES
    for function in functions(path):
        lines = (function.end_lineno or 0) - function.lineno + 1
        first = function.body[0]
        if ast.get_docstring(function, clean=False) is not None:
            lines -= (first.end_lineno or 0) - first.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, function.name


def test_no_name_of_a_class_stands_for_two_things() -> None:
    """Public classes of the product have different names, so that a search finds one meaning."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        if ROOT / "tests" not in path.parents:
            for node in parsed(path).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(name(path))
    assert {one: found for one, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name.startswith("test_")], ids=name)
def test_every_test_states_its_promise(path: Path) -> None:
    """Every test has a docstring of one sentence."""
    for function in functions(path):
        if function.name.startswith("test_"):
            promise = ast.get_docstring(function)
            assert promise, function.name
            assert re.fullmatch(r"[^\s].*[.?!]", promise, re.DOTALL), function.name
            assert "\n\n" not in promise, function.name


@pytest.mark.parametrize("path", [path for path in MODULES if ROOT / "tests" in path.parents], ids=name)
def test_no_test_sleeps(path: Path) -> None:
    """Tests wait for a condition with a deadline (tests/support/waiting.py) and never sleep."""
    if "support" in path.parts:
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called != "sleep", f"line {node.lineno}"


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").rglob("*.py")), ids=name)
def test_schemas_have_no_side_effects(path: Path) -> None:
    """Schemas import no broker, network, clock or process module."""
    assert imported(path) & IMPURE == set()
    # The random nonce of a seal is the only use of the system.
    assert set(re.findall(r"\bos\.(\w+)", path.read_text(encoding="utf-8"))) <= {"urandom"}


def test_layers_hold() -> None:
    """Producers and consumers do not import each other, nothing imports deploy, and schemas import neither."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout


def test_no_file_names_a_package_registry() -> None:
    """The source of packages depends on the machine: no tracked file has a registry's host or an index URL."""
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{name(path)}: {match[0]}" for pattern in REGISTRIES if (match := pattern.search(text))]
    assert found == []


def test_every_dependency_has_a_reason() -> None:
    """docs/dependencies.md gives the reason for each dependency, and lists no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
        project["build-system"]["requires"],
    ]
    wanted = {re.split(r"[\[<>=; ]", line)[0].lower() for group in groups for line in group}
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = {
        cell for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for cell in re.findall(r"`(.+?)`", row)
    }
    assert {entry.lower() for entry in explained} == wanted


def test_locked_packages_have_hashes() -> None:
    """Each locked package has a version and a hash."""
    for lock in (ROOT / "requirements").glob("*.txt"):
        for requirement in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            assert "==" in requirement, lock.name
            assert "--hash=sha256:" in requirement, lock.name

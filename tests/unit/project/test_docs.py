"""The documents fit the code and each other: links, generated pages, sizes, promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumers.service.metrics import SPECS
from deploy.reference.tables import pages, with_tables
from tests.support.promises import PAGE, page, promise_tests, promises

ROOT = Path(__file__).parents[3]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GENERATED = ROOT / "docs" / "reference"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
METRIC = re.compile(r"`(signpost_[a-z_]+)")
MODULE = re.compile(r"`([\w/]+\.py)`")
PACKAGES = ("schemas", "producers", "consumers", "deploy")
# Strict order per key, which is not built.
WITHOUT_TESTS = {8}
MAX_LINES = {"README.md": 250, "ARCHITECTURE.md": 120, "docs/architecture": 150, "docs/decisions": 80}


def name(path: Path) -> str:
    """Return the path of a page relative to the repository."""
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    """Return the text of a page; empty for the changelog, which names removed things."""
    return "" if path.name == "CHANGELOG.md" else path.read_text(encoding="utf-8")


def limit_of(path: Path) -> int:
    """Return the largest number of lines of a page; 0 means no limit."""
    return MAX_LINES.get(name(path), MAX_LINES.get(name(path.parent), 0))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=name)
def test_links_resolve(path: Path) -> None:
    """Every relative link of a page leads to a file of the repository, and every anchor to a heading."""
    broken = []
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        linked = (path.parent / target).resolve() if target else path
        if not linked.exists() or (anchor and linked.suffix == ".md" and anchor not in anchors(linked)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("file", pages())
def test_generated_pages_are_current(file: str) -> None:
    """The pages of docs/reference/ match the output of `make reference`."""
    assert (GENERATED / file).read_text(encoding="utf-8") == pages()[file]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_generated_tables_are_current(path: Path) -> None:
    """The marked tables of a page match the output of `make reference`."""
    text = path.read_text(encoding="utf-8")
    assert with_tables(text) == text


def test_metrics_exist() -> None:
    """Every metric that a page names is in the closed list."""
    known = {spec.name for spec in SPECS}
    found = {f"{name(path)}: {one}" for path in DOCS for one in METRIC.findall(text_of(path)) if one not in known}
    assert found == set()


def test_modules_exist() -> None:
    """Every module that an architecture page names is a file of the repository."""
    files = [f"/{name(file)}" for top in PACKAGES for file in (ROOT / top).rglob("*.py")]
    pages = [ROOT / "ARCHITECTURE.md", *(ROOT / "docs" / "architecture").glob("*.md")]
    found = {(name(path), one) for path in pages for one in MODULE.findall(text_of(path))}
    assert sorted(one for one in found if not any(file.endswith(f"/{one[1]}") for file in files)) == []


def test_page_of_promises_is_current() -> None:
    """docs/reference/promises.md lists the tests that carry the marker `promise`."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_promise_has_a_short_test() -> None:
    """`make test` runs a test of each implemented promise, and no marker names an unknown promise."""
    assert {one.promise for one in promise_tests() if not one.long} == promises().keys() - WITHOUT_TESTS
    assert promises().keys() == set(range(1, 9))


@pytest.mark.parametrize("path", [path for path in DOCS if limit_of(path)], ids=name)
def test_pages_stay_short(path: Path) -> None:
    """README.md, ARCHITECTURE.md, architecture pages and decision records keep their line limits."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit_of(path)


def test_decision_records_are_numbered_dated_and_listed() -> None:
    """Numbers have no gap, each record has a date and the four sections, and the index lists it."""
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("[0-9]*.md"))
    assert [record.name[:3] for record in records] == [f"{number:03}" for number in range(1, len(records) + 1)]
    listed = (folder / "README.md").read_text(encoding="utf-8")
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE), record.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Figures", "Consequences"], record.name
        assert f"({record.name})" in listed, record.name

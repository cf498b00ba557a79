"""Each decision of a contract has a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONTRACTS = TESTS.parent / "docs/senders"
TABLES = {"zenoo": ("Z", 28), "onboarding": ("O", 44), "diligent": ("D", 37), "riskos": ("R", 20)}

# Decisions of which nothing is built, and what is missing. No test names them.
NOT_BUILT: dict[str, str] = {}
# Parts of decisions that are not built. Tests name the decision for its other parts. A test of the part itself names
# `O29.repeated`, and the entry goes.
PARTS_NOT_BUILT: dict[str, str] = {
    "Z1.api": "an API of Signpost's own, for customers of senders that document none",
}


def decisions() -> list[str]:
    """Return the numbers in the tables of the contracts."""
    return [
        number
        for name, (letter, _) in TABLES.items()
        for number in re.findall(
            rf"^\| ({letter}\d+) \|", (CONTRACTS / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    ]


@cache
def named() -> frozenset[str]:
    """Return the numbers that markers name, read from the source, so that the selection of tests does not matter."""
    return frozenset(number for file in TESTS.rglob("test_*.py") for number in named_in(file))


def named_in(file: Path) -> Iterator[str]:
    """Yield the numbers that the markers of a file name."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "decision(" in text else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decision":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_all_decisions(name):
    """No table lacks a decision."""
    letter, count = TABLES[name]
    assert [number for number in decisions() if number[0] == letter] == [f"{letter}{n}" for n in range(1, count + 1)]


def decision_of(name: str) -> str:
    """Return the number of a decision, of which a marker may name a part: `O29` of `O29.repeated`."""
    return name.partition(".")[0]


@pytest.mark.parametrize("number", decisions())
def test_each_decision_is_named_by_a_test_or_listed_as_not_built(number):
    """A test names each decision that is built. One that is listed as not built has no test: the list is true."""
    assert (number in named()) != (number in NOT_BUILT)


@pytest.mark.parametrize("part", PARTS_NOT_BUILT)
def test_parts_that_are_not_built_have_no_test(part):
    """A part that is listed has no test, and the rest of its decision has one."""
    assert part not in named()
    assert decision_of(part) in named()


def test_no_test_names_a_decision_that_is_not_in_a_table():
    """Each number of a marker is in a table."""
    assert {decision_of(name) for name in named()} <= set(decisions())


def test_decisions_that_are_not_built_are_in_a_table():
    """Each decision that is listed as not built is in a table."""
    assert {decision_of(name) for name in (*NOT_BUILT, *PARTS_NOT_BUILT)} <= set(decisions())

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

_ACTIVE = "the state of a disabled subscription in the REST API, and PATCH that enables it"
_OF_APIS = {
    "Z": (1,),
    "O": (1, 2, 3, 4, 5, 6, 18, *range(20, 28), 30, 31, *range(38, 43)),
    "D": (*range(7, 18), 23, 24, 25, 32, 34),
}
# Decisions that are not completely built yet, and the missing part.
NOT_BUILT: dict[str, str] = {
    **{f"{letter}{number}": "the REST API" for letter, numbers in _OF_APIS.items() for number in numbers},
    "Z8": "the replay of dead letters",
    "O34": _ACTIVE,
    "D22": _ACTIVE,
    "O43": "filters of a subscription",
    "O37": "the choice of the secret that signs a test event (the test operation)",
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


@pytest.mark.parametrize("number", decisions())
def test_each_decision_is_named_by_a_test(number):
    """A test names each decision, unless it is listed as not built."""
    assert number in NOT_BUILT or number in named()


def test_no_test_names_a_decision_that_is_not_in_a_table():
    """Each number of a marker is in a table."""
    assert named() <= set(decisions())


def test_decisions_that_are_not_built_are_in_a_table():
    """Each decision that is listed as not built is in a table."""
    assert NOT_BUILT.keys() <= set(decisions())

"""Each decision of a contract is held by a test that names it."""

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

_ACTIVE = "what the REST API says of a subscription that is disabled, and PATCH that enables it"
_OF_APIS = {
    "Z": (1,),
    "O": (1, 2, 3, 4, 5, 6, 18, *range(20, 28), 30, 31, *range(38, 43)),
    "D": (*range(7, 18), 23, 24, 25, 32, 34),
}
# Decisions whose whole is not built yet, and what of it is missing.
STILL_TO_COME: dict[str, str] = {
    **{f"{letter}{number}": "the REST API" for letter, numbers in _OF_APIS.items() for number in numbers},
    "Z8": "the replay of dead letters",
    "O34": _ACTIVE,
    "D22": _ACTIVE,
    "O37": "the choice of the secret that signs a test, which is the test operation's",
}


def decided() -> list[str]:
    """Return the numbers of the contracts' tables."""
    return [
        number
        for name, (letter, _) in TABLES.items()
        for number in re.findall(
            rf"^\| ({letter}\d+) \|", (CONTRACTS / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    ]


@cache
def named() -> frozenset[str]:
    """Return the numbers that markers name, read from the source: it does not matter which tests run."""
    return frozenset(number for file in TESTS.rglob("test_*.py") for number in named_in(file))


def named_in(file: Path) -> Iterator[str]:
    """Yield the numbers that a file's markers name."""
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "decision(" in text else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decision":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_have_all_decisions(name):
    """No decision fell out of a table."""
    letter, count = TABLES[name]
    assert [number for number in decided() if number[0] == letter] == [f"{letter}{n}" for n in range(1, count + 1)]


@pytest.mark.parametrize("number", decided())
def test_a_test_names_the_decision(number):
    """Each decision is named by a test, or stands among those that are still to come."""
    assert number in STILL_TO_COME or number in named()


def test_no_test_names_a_decision_that_is_not_in_a_table():
    """A marker's number is one of the tables."""
    assert named() <= set(decided())


def test_what_is_still_to_come_is_not_forgotten():
    """Each decision of the list is one of a table."""
    assert STILL_TO_COME.keys() <= set(decided())

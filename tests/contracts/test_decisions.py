"""Each decision of a contract is held by a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONTRACT = TESTS.parent / "docs/senders/zenoo.md"

# Decisions whose whole is not built yet, and what of it is missing.
STILL_TO_COME = {
    "Z1": "the subscription API",
    "Z6": "the disabling of a subscription, by 410 and by five days of nothing but failures",
    "Z7": "Retry-After",
    "Z8": "the replay of dead letters",
}


def decided() -> list[str]:
    """Return the numbers of the contract's table."""
    return re.findall(r"^\| (Z\d+) \|", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)


def named() -> Iterator[str]:
    """Yield the numbers that markers name, read from the source: it does not matter which tests run."""
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decision":
                yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def test_the_table_has_all_28_decisions():
    """No decision fell out of the table."""
    assert decided() == [f"Z{number}" for number in range(1, 29)]


@pytest.mark.parametrize("number", decided())
def test_a_test_names_the_decision(number):
    """Each decision is named by a test, or stands among those that are still to come."""
    assert number in STILL_TO_COME or number in set(named())


def test_no_test_names_a_decision_that_is_not_in_the_table():
    """A marker's number is one of the table."""
    assert set(named()) <= set(decided())

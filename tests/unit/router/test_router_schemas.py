"""The router asks for writer schemas without standing still."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from consumers.router.schemas import RETRY_S, BeingAsked, SchemasAside
from schemas.catalog.errors import Unavailable, UnreadableRecord
from tests.support.waiting import wait_until


class Slow:
    """A registry that answers when the test lets it."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.answer: dict[str, str] | Exception = {"name": "schema"}
        self.asked = 0

    def get(self, schema_id: int) -> Any:
        self.asked += 1
        assert self.let.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answer_of(schemas: SchemasAside) -> Any:
    """Ask as the loop does, turn after turn, until there is an answer."""

    def ask() -> Any:
        try:
            return schemas.get(1)
        except BeingAsked:
            return None

    return wait_until(ask, 10, "the registry has answered")


def test_nothing_waits_for_an_answer() -> None:
    """A schema is being asked for until it is there, by one question."""
    registry = Slow()
    schemas = SchemasAside(registry, lambda: 0.0)
    for _ in range(3):
        with pytest.raises(BeingAsked):
            schemas.get(1)
    registry.let.set()

    assert answer_of(schemas) == {"name": "schema"}
    assert registry.asked == 1


def test_a_registry_in_trouble_is_asked_again_after_a_second() -> None:
    """Why it does not answer is said until it does, and it is not asked in every turn."""
    now = [0.0]
    registry = Slow()
    registry.let.set()
    registry.answer = Unavailable("no answer")
    schemas = SchemasAside(registry, lambda: now[0])
    for _ in range(3):
        with pytest.raises(Unavailable, match="no answer"):
            answer_of(schemas)
    assert registry.asked == 1
    registry.answer = {"name": "schema"}
    now[0] = RETRY_S
    with pytest.raises(Unavailable, match="no answer"):  # while it is asked, it is not known to be well
        schemas.get(1)

    def ask() -> Any:
        try:
            return schemas.get(1)
        except Unavailable:
            return None

    assert wait_until(ask, 10) == {"name": "schema"}


def test_an_unknown_schema_is_said_to_be_unknown() -> None:
    """That the registry has no such schema is an answer."""
    registry = Slow()
    registry.let.set()
    registry.answer = UnreadableRecord("unknown_schema", "there is none")
    with pytest.raises(UnreadableRecord, match="there is none"):
        answer_of(SchemasAside(registry, lambda: 0.0))

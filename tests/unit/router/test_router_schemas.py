"""The router requests writer schemas without blocking."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from consumers.router.schemas import RETRY_S, BackgroundSchemas, SchemaPending
from schemas.catalog.errors import Unavailable, UnreadableRecord
from tests.support.waiting import wait_until


class SlowRegistry:
    """A registry that responds when the test allows it."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.response: dict[str, str] | Exception = {"name": "schema"}
        self.requests = 0

    def get(self, schema_id: int) -> Any:
        self.requests += 1
        assert self.released.wait(10)
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def response_of(schemas: BackgroundSchemas) -> Any:
    """Request like the loop, turn after turn, until there is a response."""

    def request() -> Any:
        try:
            return schemas.get(1)
        except SchemaPending:
            return None

    return wait_until(request, 10, "the registry has responded")


def test_request_does_not_block() -> None:
    """A single request runs in the background until the schema is known."""
    registry = SlowRegistry()
    schemas = BackgroundSchemas(registry, lambda: 0.0)
    for _ in range(3):
        with pytest.raises(SchemaPending):
            schemas.get(1)
    registry.released.set()

    assert response_of(schemas) == {"name": "schema"}
    assert registry.requests == 1


def test_failed_request_is_repeated_after_a_second() -> None:
    """The error is reported until the registry responds, and not every turn sends a request."""
    now = [0.0]
    registry = SlowRegistry()
    registry.released.set()
    registry.response = Unavailable("no answer")
    schemas = BackgroundSchemas(registry, lambda: now[0])
    for _ in range(3):
        with pytest.raises(Unavailable, match="no answer"):
            response_of(schemas)
    assert registry.requests == 1
    registry.response = {"name": "schema"}
    now[0] = RETRY_S
    with pytest.raises(Unavailable, match="no answer"):  # the error stays until the new request ends
        schemas.get(1)

    def request() -> Any:
        try:
            return schemas.get(1)
        except Unavailable:
            return None

    assert wait_until(request, 10) == {"name": "schema"}


def test_unknown_schema_is_reported() -> None:
    """The registry's response that a schema does not exist is final."""
    registry = SlowRegistry()
    registry.released.set()
    registry.response = UnreadableRecord("unknown_schema", "there is none")
    with pytest.raises(UnreadableRecord, match="there is none"):
        response_of(BackgroundSchemas(registry, lambda: 0.0))

"""The router requests writer schemas without blocking."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from consumers.kafka.schema_registry import REMEMBERED_S
from consumers.router.schemas import RETRY_S, SLOW_S, BackgroundSchemas, SchemaPending
from schemas.catalog.errors import Unavailable, UnreadableRecord
from tests.support.waiting import wait_until


class SlowRegistry:
    """A registry that responds when the test allows it."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.response = {"name": "schema"}
        self.requests = 0

    def get(self, schema_id: int) -> Any:
        self.requests += 1
        assert self.released.wait(10)
        return self.response


def response_of(schemas: BackgroundSchemas) -> Any:
    """Request like the loop, turn after turn, until there is a response."""

    def request() -> Any:
        try:
            return schemas.get(1)
        except SchemaPending:
            return None

    return wait_until(request, what="the registry has responded")


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


class Registry:
    """A registry with a response for each id, and a count of its requests."""

    def __init__(self, **responses: Any) -> None:
        self.responses: dict[int, Any] = {int(name.removeprefix("of_")): value for name, value in responses.items()}
        self.requests: Counter[int] = Counter()

    def get(self, schema_id: int) -> Any:
        self.requests[schema_id] += 1
        response = self.responses[schema_id]
        if isinstance(response, Exception):
            raise response
        return response


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def settled(schemas: BackgroundSchemas, registry: Registry, schema_id: int, requests: int = 1) -> Any:
    """Request like the loop until the registry has had `requests` requests and the last one has a response."""

    def request() -> Any:
        try:
            found = schemas.get(schema_id)
        except SchemaPending:
            return None
        except (Unavailable, UnreadableRecord) as error:
            found = error
        done = registry.requests[schema_id] >= requests and not _is_open(schemas, schema_id)
        return found if done else None

    return wait_until(request, what="the registry has responded")


def _is_open(schemas: BackgroundSchemas, schema_id: int) -> bool:
    wanted = schemas._wanted.get(schema_id)
    return wanted is not None and wanted.request is not None


def test_failed_request_is_repeated_after_a_second() -> None:
    """The error is reported until the registry returns the schema, and not every turn sends a request."""
    clock = Clock()
    registry = Registry(of_1=Unavailable("no answer"))
    schemas = BackgroundSchemas(registry, clock)
    for _ in range(3):
        assert str(settled(schemas, registry, 1)) == "no answer"
    assert registry.requests[1] == 1
    registry.responses[1] = {"name": "schema"}
    clock.now_s += RETRY_S
    with pytest.raises(Unavailable, match="no answer"):  # the error stays until the new request ends
        schemas.get(1)
    assert settled(schemas, registry, 1, requests=2) == {"name": "schema"}


def test_error_of_one_schema_does_not_end_with_the_response_for_another() -> None:
    """While the registry returns one schema and not another, the error of the other stays: no log line flaps."""
    clock = Clock()
    registry = Registry(of_1=Unavailable("leader is away"), of_2={"name": "two"})
    schemas = BackgroundSchemas(registry, clock)
    settled(schemas, registry, 1)
    assert settled(schemas, registry, 2) == {"name": "two"}
    with pytest.raises(Unavailable, match="leader is away"):
        schemas.get(1)
    assert registry.requests[1] == 1


def test_unexpected_error_of_the_client_is_waited_for() -> None:
    """An exception of a library is no response of the registry, so the event is not dropped."""
    registry = Registry(of_1=RuntimeError("client is closed"))
    assert str(settled(BackgroundSchemas(registry, Clock()), registry, 1)) == "RuntimeError: client is closed"


def test_slow_registry_is_reported_after_a_second() -> None:
    """A request without a response counts as an error after a second, and its response is used when it arrives."""
    clock = Clock()
    registry = SlowRegistry()
    schemas = BackgroundSchemas(registry, clock)
    with pytest.raises(SchemaPending):
        schemas.get(1)
    clock.now_s += SLOW_S
    with pytest.raises(Unavailable, match="does not respond to the request for schema 1") as raised:
        schemas.get(1)
    assert not isinstance(raised.value, SchemaPending)
    registry.released.set()
    assert wait_until(lambda: _found(schemas), 10) == {"name": "schema"}
    assert registry.requests == 1


def _found(schemas: BackgroundSchemas) -> Any:
    try:
        return schemas.get(1)
    except Unavailable:
        return None


def test_unknown_schema_is_remembered_for_a_minute() -> None:
    """The response that there is no schema is final: no second request within a minute, and a new one after it."""
    clock = Clock()
    registry = Registry(of_1=UnreadableRecord("unknown_schema", "there is none"))
    schemas = BackgroundSchemas(registry, clock)
    settled(schemas, registry, 1)
    for _ in range(100):
        clock.now_s += 0.5
        with pytest.raises(UnreadableRecord, match="there is none") as raised:
            schemas.get(1)
        assert raised.value.reason == "unknown_schema"
    assert registry.requests[1] == 1
    registry.responses[1] = {"name": "schema"}
    clock.now_s += REMEMBERED_S
    with pytest.raises(SchemaPending):
        schemas.get(1)
    assert settled(schemas, registry, 1, requests=2) == {"name": "schema"}

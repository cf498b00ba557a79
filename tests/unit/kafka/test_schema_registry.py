"""The client of the schema registry, against a small registry over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from consumers.kafka.schema_registry import (
    REMEMBERED_S,
    NoRegistry,
    RegistryRefuses,
    RegistryWorks,
    SchemaRegistry,
)
from schemas.catalog.errors import Unavailable, UnreadableRecord
from tests.support.small_registry import Reference, Response, SmallRegistry, running_registry

RECORD: dict[str, Any] = {"type": "record", "name": "A", "namespace": "shop", "fields": []}


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture
def client(registry: SmallRegistry) -> Iterator[SchemaRegistry]:
    client = SchemaRegistry(registry.url)
    yield client
    client.close()


def refusal(client: SchemaRegistry, schema_id: int) -> str:
    with pytest.raises(UnreadableRecord) as raised:
        client.get(schema_id)
    assert raised.value.reason == "unknown_schema"
    return raised.value.detail


def error(client: SchemaRegistry, schema_id: int = 1) -> str:
    with pytest.raises(Unavailable) as raised:
        client.get(schema_id)
    return str(raised.value)


def test_schema_is_requested_once(registry: SmallRegistry, client: SchemaRegistry) -> None:
    """A schema that was read stays known, also while the registry is down."""
    schema_id = registry.register("events-shop.A", RECORD)
    assert client.get(schema_id) == RECORD
    registry.stop()
    assert client.get(schema_id) == RECORD
    assert "does not respond" in error(client, 99)
    registry.start()
    assert sum(registry.requests.values()) == 1


def test_unknown_id_is_remembered_for_a_minute(registry: SmallRegistry) -> None:
    """A schema that does not exist is refused without a request for a minute."""
    now_s = [0.0]
    client = SchemaRegistry(registry.url, now_s=lambda: now_s[0])
    for _ in range(3):
        assert refusal(client, 1) == "the schema registry has no schema 1"
    assert registry.requests == {"/schemas/ids/1": 1}
    registry.register("events-shop.A", RECORD)
    now_s[0] = REMEMBERED_S
    assert client.get(1) == RECORD
    client.close()


@pytest.mark.parametrize("schema_id", [2**31, 2**32 - 1])
def test_id_that_no_registry_has_is_not_requested(
    registry: SmallRegistry, client: SchemaRegistry, schema_id: int
) -> None:
    """Ids have 31 bits. Registries respond to larger ones in many ways."""
    assert "too large" in refusal(client, schema_id)
    assert not registry.requests


@pytest.mark.parametrize(("kind", "name"), [("JSON", "a JSON Schema"), ("PROTOBUF", "a Protobuf schema")])
def test_other_kind_of_schema_is_named(registry: SmallRegistry, client: SchemaRegistry, kind: str, name: str) -> None:
    """A schema that is not Avro is refused, with its kind."""
    schema_id = registry.register("events-value", "{}", schema_type=kind)
    assert refusal(client, schema_id) == f"schema {schema_id} of the registry is {name}, and events need an Avro schema"


@pytest.mark.parametrize("text", ["message A {}", "[" * 100_000])
def test_schema_that_is_not_json_is_refused(registry: SmallRegistry, client: SchemaRegistry, text: str) -> None:
    """The registry has the schema, so there is nothing to wait for."""
    assert "is not JSON" in refusal(client, registry.register("events-value", text))


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        ((401, {"error_code": 401, "message": "Unauthorized"}), "does not return schema 1: 401 Unauthorized"),
        ((403, b""), "does not return schema 1: 403"),
        ((409, {"error_code": 409, "message": "busy"}), "does not return schema 1: 409 busy"),
        ((500, {"error_code": 50001, "message": "store"}), "does not return schema 1: 500 store"),
        ((503, b"<html>" + b"x" * 10_000), "does not return schema 1: 503 <html>"),
        ((302, b""), "does not return schema 1: 302"),
        ((200, b"<html>welcome"), "returns no schema for schema 1, but <html>welcome"),
        ((200, b""), "returns no schema for schema 1"),
        ((200, {}), "returns no schema for schema 1, but {}"),
        ((200, []), "returns no schema for schema 1"),
        ((200, {"schema": None}), "returns no schema for schema 1"),
        ((200, {"schema": '"string"', "references": 7}), "returns invalid references of schema 1"),
        ((200, {"schema": '"string"', "references": [{"name": "A"}]}), "returns invalid references of schema 1"),
        ((404, b"<html>not here"), "does not return schema 1: 404 <html>not here"),
        ((404, {"error_code": 404, "message": "HTTP 404 Not Found"}), "does not return schema 1: 404 HTTP 404"),
    ],
)
def test_other_response_is_waited_for(
    registry: SmallRegistry, client: SchemaRegistry, response: Response, sentence: str
) -> None:
    """A registry that refuses, fails or is no registry has decided nothing. The error has its response, cut to size."""
    registry.register("events-shop.A", RECORD)
    registry.respond = lambda _path: response
    found = error(client)
    assert sentence in found
    assert len(found) < 300
    registry.respond = None
    assert client.get(1) == RECORD


@pytest.mark.parametrize("body", [b"", {}, {"message": "no"}, {"error_code": 40403}])
def test_404_of_a_registry_is_final(registry: SmallRegistry, client: SchemaRegistry, body: Any) -> None:
    """A 404 without a page means that there is no schema."""
    registry.respond = lambda _path: (404, body)
    assert "has no schema 1" in refusal(client, 1)


@pytest.mark.parametrize("body", [b"<html>none", {"error_code": 404, "message": "HTTP 404 Not Found"}])
def test_404_with_a_page_is_final_if_the_url_is_that_of_a_registry(
    registry: SmallRegistry, client: SchemaRegistry, body: Any
) -> None:
    """A page with a 404 is the registry's if it lists its subjects at this URL."""
    registry.respond = lambda path: (404, body) if path.startswith("/schemas") else None
    assert "has no schema 1" in refusal(client, 1)


def test_error_does_not_show_the_password() -> None:
    """The URL of the registry may contain a password."""
    client = SchemaRegistry("http://user:canary-9@127.0.0.1:1")
    assert "canary-9" not in error(client)
    client.close()


def test_user_and_password_of_the_url_are_sent(registry: SmallRegistry) -> None:
    """A registry that requires a password gets the one of the URL, decoded."""
    schema_id = registry.register("events-shop.A", RECORD)
    registry.password = "user:p@ss word"
    for user, found in (("user:p%40ss%20word@", RECORD), ("", None)):
        client = SchemaRegistry(registry.url.replace("//", f"//{user}"))
        if found is None:
            assert "401 Unauthorized" in error(client, schema_id)
        else:
            assert client.get(schema_id) == found
        client.close()


def test_command_does_not_wait_for_each_record(registry: SmallRegistry) -> None:
    """After an error, a client that fails fast sends no request for a while. Known schemas stay known."""
    now_s = [0.0]
    client = SchemaRegistry(registry.url, fail_fast_s=30.0, now_s=lambda: now_s[0])
    known = registry.register("events-shop.A", RECORD)
    client.get(known)
    registry.respond = lambda _path: (503, b"")
    for schema_id in range(10, 20):
        assert "does not return schema 10: 503" in error(client, schema_id)
    assert client.get(known) == RECORD
    assert sum(registry.requests.values()) == 2
    registry.respond = None
    now_s[0] = 30.0
    assert "has no schema 10" in refusal(client, 10)
    client.close()


def test_invalid_response_for_one_schema_hides_no_other(registry: SmallRegistry) -> None:
    """A client that fails fast repeats an invalid response only for the schema asked for."""
    client = SchemaRegistry(registry.url, fail_fast_s=30.0)
    known = registry.register("events-shop.A", RECORD)
    registry.respond = {
        "/schemas/ids/10": (200, {"schema": None}),
        "/schemas/ids/11": (200, {"schema": '"int"', "references": "x"}),
    }.get
    for _ in range(2):
        assert "no schema for schema 10" in error(client, 10)
        assert "invalid references of schema 11" in error(client, 11)
    assert "has no schema 12" in refusal(client, 12)
    assert client.get(known) == RECORD
    assert set(registry.requests.values()) == {1}
    client.close()


MONEY: dict[str, Any] = {
    "type": "record",
    "name": "Money",
    "namespace": "common",
    "fields": [{"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR"]}}],
}
LINE: dict[str, Any] = {
    "type": "record",
    "name": "Line",
    "namespace": "shop",
    "fields": [{"name": "price", "type": "common.Money"}],
}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [{"name": "lines", "type": {"type": "array", "items": "Line"}}, {"name": "sum", "type": "common.Money"}],
}


def registered_order(registry: SmallRegistry) -> int:
    """Register an order that refers to lines and money, and lines that refer to money."""
    registry.register("common.Money", MONEY)
    registry.register("shop/lines", LINE, [Reference("common.Money", "common.Money")])
    return registry.register(
        "orders-value", ORDER, [Reference("shop.Line", "shop/lines"), Reference("common.Money", "common.Money")]
    )


def test_references_are_resolved_recursively(registry: SmallRegistry, client: SchemaRegistry) -> None:
    """Types of other schemas are defined where they are named first. A schema that two others name is read once."""
    lines = {**LINE, "fields": [{"name": "price", "type": MONEY}]}
    expected = {
        **ORDER,
        "fields": [
            {"name": "lines", "type": {"type": "array", "items": lines}},
            {"name": "sum", "type": "common.Money"},
        ],
    }
    assert client.get(registered_order(registry)) == expected
    assert registry.requests["/subjects/common.Money/versions/1"] == 1
    assert registry.requests["/subjects/shop%2Flines/versions/1"] == 1


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (Reference("x.B", "gone"), "refers to version 1 of subject gone, which the registry does not have"),
        (Reference("x.B", "shop.A", 9), "refers to version 9 of subject shop.A, which the registry does not have"),
        (
            Reference("x.B", "proto"),
            "version 1 of subject proto, to which schema 3 refers, of the registry is a Protobuf",
        ),
    ],
)
def test_reference_without_an_avro_schema_is_refused(
    registry: SmallRegistry, client: SchemaRegistry, reference: Reference, sentence: str
) -> None:
    """A schema whose references cannot be resolved is unknown at once, and the sentence names the reference."""
    registry.register("shop.A", RECORD)
    registry.register("proto", "syntax", schema_type="PROTOBUF")
    schema_id = registry.register("orders-value", ORDER, [reference])
    assert sentence in refusal(client, schema_id)


def test_reference_that_the_registry_does_not_return_is_waited_for(
    registry: SmallRegistry, client: SchemaRegistry
) -> None:
    """A failure between two requests decides nothing."""
    schema_id = registered_order(registry)
    registry.respond = lambda path: (500, b"") if "lines" in path else None
    assert "does not return version 1 of subject shop/lines: 500" in error(client, schema_id)
    registry.respond = None
    assert client.get(schema_id)["name"] == "Order"


def test_endless_references_end(registry: SmallRegistry, client: SchemaRegistry) -> None:
    """A chain without an end is unknown; a circle is read once."""

    def chain(path: str) -> Response | None:
        number = path.removeprefix("/subjects/n").partition("/")[0] if "/subjects/" in path else "0"
        reference = {"name": "n", "subject": f"n{int(number) + 1}", "version": 1}
        return 200, {"schema": json.dumps(RECORD), "references": [reference]}

    registry.respond = chain
    assert "refers to more than 1000 schemas" in refusal(client, 1)

    circle = {"schema": json.dumps(RECORD), "references": [{"name": "shop.A", "subject": "a", "version": 1}]}
    registry.respond = lambda _path: (200, circle)
    assert client.get(2) == RECORD


def test_state_says_what_responds(registry: SmallRegistry, client: SchemaRegistry) -> None:
    """A registry lists its subjects; a refusal and another service are told apart, and silence is Unavailable."""
    state = client.state()
    assert isinstance(state, RegistryWorks)
    assert state.date.endswith(" GMT")
    registry.password = "user:password"
    assert isinstance(client.state(), RegistryRefuses)
    registry.password = None
    for response in ((200, b"<html>Welcome</html>"), (200, {"subjects": []}), (404, b""), (500, {"message": "no"})):
        registry.respond = lambda path, response=response: response
        assert isinstance(client.state(), NoRegistry)
    registry.stop()
    with pytest.raises(Unavailable, match="does not respond"):
        client.state()
    registry.start()

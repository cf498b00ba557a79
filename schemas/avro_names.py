"""The named types of an Avro schema, which other places of it refer to by their names."""

from __future__ import annotations

from typing import Any


def named_types(schema: Any) -> dict[str, Any]:
    """Return the records and enums that a schema defines anywhere in it, by their names without a namespace."""
    found: dict[str, Any] = {}
    _collect(schema, found)
    return found


def _collect(node: Any, found: dict[str, Any]) -> None:
    for inner in node if isinstance(node, list) else [node]:
        if not isinstance(inner, dict):
            continue
        if "name" in inner:
            found[inner["name"].rpartition(".")[2]] = inner
        for part in ("type", "items", "values"):
            _collect(inner.get(part), found)
        for field in inner.get("fields", ()):
            _collect(field["type"], found)

"""Versions of the records of `operations`, and what an older process can read."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import fastavro

from schemas.avro.codec import PREFIX_LENGTH, read_all, single_object_prefix
from schemas.records.health import Operation, decode_operation, encode_operation

REPORT = Operation(kind="endpoint_failing", at_ms=1_000, subscription_id="sub_1", status=500, since_ms=500)
CHANGE = Operation(
    kind="subscription_changed", at_ms=1_000, subscription_id="sub_1", actor="cli:root", changed=("url", "secret")
)
KEY = Operation(kind="api_key_created", at_ms=1_000, actor="cli:root", key_id="ukbm5b4zqyxq5x7c")


def schema(version: int) -> Any:
    """Return a published version of the schema."""
    file = resources.files("schemas") / "records" / f"operation.v{version}.avsc"
    return json.loads(file.read_text())


def test_record_is_written_in_the_oldest_version_that_holds_it() -> None:
    """Reports need version 1, audit records of subscriptions version 2; only those of API keys need version 3."""
    for version, operation in enumerate((REPORT, CHANGE, KEY), 1):
        value = encode_operation(operation)
        assert value.startswith(single_object_prefix(schema(version)))
        assert decode_operation(value) == operation
        found = read_all(fastavro.parse_schema(schema(version)), value, PREFIX_LENGTH)
        assert (found["kind"], found["at_ms"]) == (operation.kind, 1_000)

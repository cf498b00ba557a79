"""The records of operations become rows that every database can store."""

from __future__ import annotations

from typing import Any, cast

from consumers.kafka.dead_letters import SourceRecord
from consumers.ledger.records import readers_of
from consumers.ledger.rows import Unwritten
from schemas.records.health import Operation, encode_operation
from schemas.records.topics import TopicNames


class Message:
    """A record of `operations` at offset 7 of partition 1."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_000


def test_ids_of_operations_have_no_nul_characters() -> None:
    """PostgreSQL cannot store U+0000 in an id: it becomes U+FFFD, and the batch is written."""
    names = TopicNames()
    ids: dict[str, Any] = {"subscription_id": "a\0b", "customer_id": "c\0d", "sender": "e\0f"}
    value = encode_operation(Operation(kind="endpoint_failing", at_ms=1, **ids))
    unwritten = Unwritten()

    readers_of(names)[names.operations](cast("SourceRecord", Message(value)), unwritten)

    [row] = unwritten.operations
    assert (row.subscription_id, row.customer_id, row.sender) == ("a\ufffdb", "c\ufffdd", "e\ufffdf")
    assert (row.partition, row.offset, row.recorded_at_ms) == (1, 7, 1_000)


def test_audit_records_of_keys_name_the_key() -> None:
    """The row of an audit record has its author, and the id of the API key instead of a subscription."""
    names = TopicNames()
    value = encode_operation(Operation(kind="api_key_revoked", at_ms=1, actor="cli:root", key_id="key\0id"))
    unwritten = Unwritten()

    readers_of(names)[names.operations](cast("SourceRecord", Message(value)), unwritten)

    [row] = unwritten.operations
    assert (row.kind, row.actor, row.key_id, row.subscription_id) == (
        "api_key_revoked",
        "cli:root",
        "key\ufffdid",
        None,
    )

"""Records of the topics `health` and `operations`: the health of endpoints, and events for operators and customers.

Health is status, not configuration. It has its own topic, so that delivery and the subscription writer never overwrite
each other's records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord

DisabledReason = Literal["gone", "failing"]
KeyOperation = Literal["api_key_created", "api_key_revoked", "api_key_deleted"]
OperationKind = Literal[
    "endpoint_failing",
    "endpoint_disabled",
    "endpoint_recovered",
    "partition_truncated",
    "subscription_created",
    "subscription_changed",
    "subscription_deleted",
    KeyOperation,
]

_HEALTH: Final = RecordCodec("health")
_OPERATION: Final = RecordCodec("operation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A failing or disabled endpoint; records/health.v1.avsc describes the fields."""

    subscription_id: str
    customer_id: str
    sender: str
    activation: int
    failing_since_ms: int
    reported: bool
    disabled_at_ms: int | None
    reason: DisabledReason | Literal[""]
    last_status: int | None
    last_error: str | None
    updated_at_ms: int

    def disables(self, activation: int) -> bool:
        """Return whether this record disables a subscription with the given activation."""
        return self.disabled_at_ms is not None and self.activation >= activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An event for operators or customers; records/operation.v3.avsc describes the fields."""

    kind: OperationKind
    at_ms: int
    subscription_id: str | None = None
    customer_id: str | None = None
    sender: str | None = None
    since_ms: int | None = None
    reason: str = ""
    status: int | None = None
    error: str | None = None
    topic: str | None = None
    partition: int | None = None
    from_offset: int | None = None
    to_offset: int | None = None
    actor: str | None = None
    request_id: str | None = None
    changed: tuple[str, ...] = ()
    key_id: str | None = None


_OPERATION_FIELDS: Final = tuple(field.name for field in fields(Operation))


def encode_health(health: Health) -> bytes:
    """Encode the value of a record of the topic `health`."""
    return _HEALTH.encode(asdict(health))


def decode_health(value: bytes | None) -> Health:
    """Decode the value of a record of the topic `health`; UnreadableRecord if it is invalid."""
    record: dict[str, Any] = _HEALTH.decode(value)
    if record["reason"] not in {"", "gone", "failing"}:
        raise UnreadableRecord("invalid_value", f"health has the reason {record['reason'][:64]!r}")
    return Health(**record)


def decode_all(
    values: Mapping[str, bytes], on_unreadable: Callable[[str, UnreadableRecord], object]
) -> dict[str, Health]:
    """Decode the records of the topic `health` by key. Unreadable ones are passed to `on_unreadable` and left out.

    Nothing is lost by that: delivery determines the health of an endpoint again from the next attempts.
    """
    found: dict[str, Health] = {}
    for key, value in values.items():
        try:
            found[key] = decode_health(value)
        except UnreadableRecord as error:
            on_unreadable(key, error)
    return found


def encode_operation(operation: Operation) -> bytes:
    """Encode the value of a record of the topic `operations`."""
    record = {name: getattr(operation, name) for name in _OPERATION_FIELDS}
    record["changed"] = list(operation.changed)
    return _OPERATION.encode(record)


def decode_operation(value: bytes | None) -> Operation:
    """Decode the value of a record of the topic `operations`; UnreadableRecord if it is invalid."""
    record: dict[str, Any] = _OPERATION.decode(value)
    return Operation(**record | {"changed": tuple(record["changed"])})

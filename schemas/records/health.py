"""What delivery finds out about endpoints: their health, and what operators and customers hear of it.

Health is status, not configuration: it has a topic of its own, so that neither writer overwrites the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord

DisabledReason = Literal["gone", "failing"]
OperationKind = Literal["endpoint_failing", "endpoint_disabled", "endpoint_recovered", "partition_truncated"]

_HEALTH: Final = RecordCodec("health")
_OPERATION: Final = RecordCodec("operation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """An endpoint that fails, or is disabled; the fields are described in records/health.v1.avsc."""

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
        """Tell whether nothing may be sent for a subscription of this activation."""
        return self.disabled_at_ms is not None and self.activation >= activation


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that happened; the fields are described in records/operation.v1.avsc."""

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


def encode_health(health: Health) -> bytes:
    """Encode the value of a record of the topic `health`."""
    return _HEALTH.encode(asdict(health))


def decode_health(value: bytes | None) -> Health:
    """Decode the value of a record of the topic `health`; UnreadableRecord if it is none."""
    record: dict[str, Any] = _HEALTH.decode(value)
    if record["reason"] not in {"", "gone", "failing"}:
        raise UnreadableRecord("invalid_value", f"health has the reason {record['reason'][:64]!r}")
    return Health(**record)


def decode_all(values: Mapping[str, bytes], unreadable: Callable[[str, UnreadableRecord], object]) -> dict[str, Health]:
    """Decode what the topic `health` holds, by its keys; what cannot be read is told to `unreadable`, and left out.

    It is status, not configuration: it is found out anew.
    """
    found: dict[str, Health] = {}
    for key, value in values.items():
        try:
            found[key] = decode_health(value)
        except UnreadableRecord as error:
            unreadable(key, error)
    return found


def encode_operation(operation: Operation) -> bytes:
    """Encode the value of a record of the topic `operations`."""
    return _OPERATION.encode(asdict(operation))


def decode_operation(value: bytes | None) -> Operation:
    """Decode the value of a record of the topic `operations`; UnreadableRecord if it is none."""
    return Operation(**_OPERATION.decode(value))

"""Records of the topic `tests`: the attempts of test deliveries, without secrets and bodies.

The topic has one partition and no transactions, so each record is at the offset after the one before. The offset plus 1
is the log id that the customer gets.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from schemas.avro.codec import RecordCodec
from schemas.catalog.failures import FailureKind

_CODEC: Final = RecordCodec("test_delivery")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTest:
    """One attempt; records/test_delivery.v1.avsc describes the fields. Either `status` or `error` is set."""

    at_ms: int
    key_id: str
    sender: str
    customer_id: str
    subscription_id: str | None
    host: str
    event_id: str
    status: int | None
    error: FailureKind | None
    duration_us: int


def encode_test(test: LoggedTest) -> bytes:
    """Encode the value of a record of the topic `tests`."""
    return _CODEC.encode(asdict(test))


def decode_test(value: bytes | None) -> LoggedTest:
    """Decode the value of a record of the topic `tests`; UnreadableRecord if it is invalid."""
    record: dict[str, Any] = _CODEC.decode(value)
    return LoggedTest(**record)


def log_id(offset: int) -> int:
    """Return the log id of the record at an offset."""
    return offset + 1

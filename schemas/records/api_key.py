"""Records of the compacted topics `api-keys` and `api-key-uses`, by the id of the API key.

The first has one writer at a time (producers/keys/writer.py). API processes write last uses without exclusive access,
so these have their own topic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord

Scope: TypeAlias = Literal["read", "write"]
KeyState: TypeAlias = Literal["active", "expired", "revoked"]

_API_KEY: Final = RecordCodec("api_key")
_API_KEY_USE: Final = RecordCodec("api_key_use")
SCOPES: Final[tuple[Scope, ...]] = ("read", "write")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key without its secret part; records/api_key.v1.avsc describes the fields."""

    id: str
    sender: str | None
    customer_id: str | None
    scope: Scope
    description: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    sealing_key: bytes
    hash: bytes = field(repr=False)

    @property
    def is_operator(self) -> bool:
        """Whether it is for all senders and customers."""
        return self.sender is None

    def state(self, now_ms: int) -> KeyState:
        """Return the state; a key that is both revoked and expired is revoked."""
        if self.revoked_at_ms is not None:
            return "revoked"
        return "expired" if self.expires_at_ms is not None and now_ms >= self.expires_at_ms else "active"

    def ended_at_ms(self) -> int | None:
        """Return when the key was revoked or expires; None: never."""
        return self.expires_at_ms if self.revoked_at_ms is None else self.revoked_at_ms


def encode_api_key(key: ApiKey) -> bytes:
    """Encode the value of a record of the topic `api-keys`."""
    return _API_KEY.encode(asdict(key))


def decode_api_key(id_: str, value: bytes | None) -> ApiKey:
    """Decode the value of a record of the topic `api-keys` with the key `id_`; UnreadableRecord if it is invalid."""
    record: dict[str, Any] = _API_KEY.decode(value)
    if record["id"] != id_:
        raise UnreadableRecord("invalid_value", "the record's key is not the id in its value")
    if record["scope"] not in SCOPES:
        raise UnreadableRecord("invalid_value", f"an API key has the scope {record['scope'][:64]!r}")
    # A key that lost one of them must not become a key for everything.
    if (record["sender"] is None) != (record["customer_id"] is None):
        raise UnreadableRecord("invalid_value", "an API key has a sender or a customer, but not both")
    return ApiKey(**record)


def encode_api_key_use(key_id: str, last_used_at_ms: int) -> bytes:
    """Encode the value of a record of the topic `api-key-uses`."""
    return _API_KEY_USE.encode({"key_id": key_id, "last_used_at_ms": last_used_at_ms})


def decode_api_key_use(value: bytes | None) -> int:
    """Return the last use, in Unix ms; UnreadableRecord if the record is invalid."""
    last_used_at_ms: int = _API_KEY_USE.decode(value)["last_used_at_ms"]
    return last_used_at_ms

"""Subscriptions: which events of a customer go to which URL. Types and record; the rules are in rules.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.avro.codec import RecordCodec
from schemas.catalog.errors import UnreadableRecord


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret on the topic; only a key of schemas/subscriptions/sealing.py opens it."""

    id: str
    sealed: bytes
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class FormerSecret:
    """A secret from before a rotation: it signs together with the newest one until `until_ms`."""

    id: str
    sealed: bytes
    created_at_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """A header of the customer, sent with every attempt; its value is sealed like a secret."""

    name: str
    id: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate (PEM, including its chain) and its sealed key, for endpoints that require one."""

    certificate: str
    id: str
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which events go to which URL; records/subscription.v3.avsc describes the fields."""

    id: str
    sender: str
    customer_id: str
    url: str
    event_types: tuple[str, ...]
    secrets: tuple[SealedSecret, ...]
    paused: bool
    activation: int
    set: str | None
    description: str
    created_at_ms: int
    updated_at_ms: int
    request_id: str
    former_secrets: tuple[FormerSecret, ...] = ()
    headers: tuple[SealedHeader, ...] = ()
    client_certificate: ClientCertificate | None = None
    schedule_s: tuple[int, ...] | None = None
    timeout_s: int | None = None
    max_in_flight: int | None = None
    rate_limit: float | None = None
    filters: str | None = None


# `all` is the notation of one product's documents. No event type has that name.
EVERY_TYPE: Final = ("*", "all")


def matches(pattern: str, event_type: str) -> bool:
    """Return whether a pattern of a subscription (exact, `case.*`, `*`, `all`) matches an event type."""
    if pattern in EVERY_TYPE:
        return True
    return event_type.startswith(pattern[:-1]) if pattern.endswith(".*") else pattern == event_type


_CODEC: Final = RecordCodec("subscription")
_FIELDS: Final = tuple(field.name for field in fields(Subscription))


def encode_subscription(subscription: Subscription) -> bytes:
    """Encode the value of a record of the topic `subscriptions`."""
    record = {name: getattr(subscription, name) for name in _FIELDS}
    for name in ("secrets", "former_secrets", "headers"):
        record[name] = [asdict(sealed) for sealed in record[name]]
    if subscription.client_certificate is not None:
        record["client_certificate"] = asdict(subscription.client_certificate)
    if subscription.schedule_s is not None:
        record["schedule_s"] = list(
            subscription.schedule_s
        )  # fastavro reads a tuple in a union as (branch name, value)
    return _CODEC.encode(record)


def decode_subscription(value: bytes) -> Subscription:
    """Decode the value of a record of the topic `subscriptions`; UnreadableRecord if it is invalid."""
    record: dict[str, Any] = _CODEC.decode(value)
    record["secrets"] = tuple(SealedSecret(**secret) for secret in record["secrets"])
    record["event_types"] = tuple(record["event_types"])
    record["former_secrets"] = tuple(FormerSecret(**secret) for secret in record["former_secrets"])
    record["headers"] = tuple(SealedHeader(**header) for header in record["headers"])
    if (certificate := record["client_certificate"]) is not None:
        record["client_certificate"] = ClientCertificate(**certificate)
    if (schedule_s := record["schedule_s"]) is not None:
        record["schedule_s"] = tuple(schedule_s)
    subscription = Subscription(**record)
    if not (subscription.id and subscription.sender and subscription.customer_id and subscription.url):
        raise UnreadableRecord(
            "invalid_value", f"subscription {subscription.id!r} lacks id, sender, customer_id or url"
        )
    return subscription


def host_of(subscription: Subscription) -> str:
    """Return the host of a subscription's URL."""
    try:
        return urlsplit(subscription.url).hostname or "?"
    except ValueError:
        return "?"

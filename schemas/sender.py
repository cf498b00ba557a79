"""Senders: how one product's webhooks look to the receiver. A sender is a folder of data, not code.

<name>/sender.toml                 envelope, headers, signature, schedule, timeout, limits, Kafka key
<name>/events/<event_type>.avsc    the record of each event type, as it is on the topic
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import orjson

from schemas.errors import SenderError, UnreadableRecord
from schemas.event import Event
from schemas.event_type import EventType, read_event_type
from schemas.header_values import Attempt
from schemas.sender_file import SenderFile, line_of, read_sender_file
from schemas.signing import SignatureScheme, SigningKey

DISTRIBUTION: Final = "kafka-signpost"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sender:
    """One product's webhooks. `timeout` is that of an attempt; `schedule` holds the waits after failed attempts."""

    name: str
    title: str
    event_types: Mapping[str, EventType]
    schedule: tuple[timedelta, ...]
    timeout: timedelta
    max_body: int
    key_fields: tuple[str, ...]
    envelope: tuple[tuple[str, Callable[[Event], Any]], ...]
    header_lines: tuple[bytes, ...]
    signature: SignatureScheme

    @property
    def needs_secret(self) -> bool:
        """True: a subscription always has a secret."""
        return self.signature.required

    def key_of(self, data: Mapping[str, Any], event_id: str) -> str:
        """Return the Kafka key of an event: events with the same key stay in order."""
        for field in self.key_fields:
            value = data.get(field)
            if value is not None and value != "":
                return str(value)
        return event_id

    def render(self, event: Event) -> bytes:
        """Return the request body: compact JSON in UTF-8, keys in the documented order.

        UnreadableRecord `invalid_value` if a value has no form in JSON, `too_large` if the body is over `max_body`.
        """
        try:
            body = orjson.dumps({key: value(event) for key, value in self.envelope})
        except (TypeError, ValueError, OverflowError) as error:  # JSONEncodeError is a TypeError
            raise UnreadableRecord("invalid_value", f"{type(error).__name__}: {error}") from error
        if len(body) > self.max_body:
            raise UnreadableRecord("too_large", f"the body has {len(body)} bytes, at most {self.max_body} are sent")
        return body

    def generate_secret(self) -> str:
        """Return a new random secret for a subscription."""
        return self.signature.generate_secret()

    def signing_key(self, secret: str) -> SigningKey:
        """Return the key that signs for this secret: made once per subscription. InvalidInput if it cannot be one."""
        return self.signature.signing_key(secret)

    def headers(self, job: Attempt, body: bytes, keys: Sequence[SigningKey], now_s: int) -> list[bytes]:
        """Return all header lines of an attempt, `Name: value`. `keys`: newest first; `now_s`: Unix seconds."""
        return [*self.header_lines, *self.signature.lines(job.event_id, body, keys, now_s)]

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None = None) -> str | None:
        """Return None if a request is genuine, else why it is not. Header names compare without regard to case.

        `now_s`: Unix seconds, where the time of the request counts as well.
        """
        return self.signature.verify({name.lower(): value for name, value in headers.items()}, body, secret, now_s)


@cache
def load_senders() -> Mapping[str, Sender]:
    """Return the senders that Signpost brings, by name."""
    folder = resources.files("schemas") / "senders"
    found = (load_sender(child) for child in sorted(folder.iterdir(), key=lambda c: c.name) if child.is_dir())
    return MappingProxyType({sender.name: sender for sender in found})


def load_sender(folder: Traversable) -> Sender:
    """Read a sender's folder, whose name is the sender's. SenderError names file, line and field of what is wrong."""
    file = folder / "sender.toml"
    text = _read(file)
    parsed = read_sender_file(text, str(file))
    event_types = _read_event_types(folder, parsed)
    known = {field for kind in event_types.values() for field in kind.data_fields}
    for field in parsed.kafka.key:
        if field not in known:
            line = line_of(text, ("kafka", "key"))
            raise SenderError(f"{file}:{line}: kafka.key: no event type has a field {field!r} in data")
    version = metadata.version(DISTRIBUTION)
    return Sender(
        name=folder.name,
        title=parsed.title,
        event_types=MappingProxyType(event_types),
        schedule=parsed.delivery.schedule,
        timeout=parsed.delivery.timeout,
        max_body=parsed.body.max_bytes,
        key_fields=parsed.kafka.key,
        envelope=tuple((key, _VALUES[field]) for key, field in parsed.body.envelope.items()),
        header_lines=tuple(f"{k}: {v.replace('{version}', version)}".encode() for k, v in parsed.headers.items()),
        signature=parsed.signature,
    )


def _read_event_types(folder: Traversable, parsed: SenderFile) -> dict[str, EventType]:
    events = folder / "events"
    files = {f.name.removesuffix(".avsc"): f for f in events.iterdir()} if events.is_dir() else {}
    for name, file in sorted(files.items()):
        if name not in parsed.event_types:
            raise SenderError(f"{file}: event type {name!r} is not under [event_types] of sender.toml")
    event_types: dict[str, EventType] = {}
    owners: dict[str, str] = {}
    for name, line in parsed.event_types.items():
        file = events / f"{name}.avsc"
        kind = read_event_type(name, line.trigger, _read(file), str(file))
        record = kind.schema["name"]
        if (owner := owners.setdefault(record.rpartition(".")[2], name)) != name:
            raise SenderError(f"{file}: name: {owner}.avsc has a record {record} as well: give it another name")
        event_types[name] = kind
    return event_types


def _read(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SenderError(f"{file}: the file is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SenderError(f"{file}: cannot be read: {error}") from error


# Events of a batch are mostly of the same minutes, and a look-up costs a tenth of writing the time out.
@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    # strftime does not pad years below 1000; isoformat does.
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


def _seconds(event: Event) -> str:
    """Return created_at as `2026-02-16T10:01:00Z`: what is finer is cut, never rounded up."""
    minutes, rest_us = divmod(event.created_at_us, _MINUTE_US)
    try:
        return f"{_minute(minutes)}{rest_us // 1_000_000:02d}Z"
    except OverflowError as error:
        raise ValueError(f"created_at is outside the years 1 to 9999: {event.created_at_us} µs") from error


_VALUES: Final[Mapping[str, Callable[[Event], Any]]] = {
    "event_id": attrgetter("event_id"),
    "event_type": attrgetter("event_type"),
    "created_at": _seconds,
    "customer_id": attrgetter("customer_id"),
    "data": attrgetter("data"),
}

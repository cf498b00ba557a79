"""Senders: the format of one product's webhooks. A sender is a folder of data, not code.

<name>/sender.toml           envelope, headers, signature, schedule, timeout, limits, Kafka key, conditions
<name>/events/<name>.avsc    the record of an event type on its topic
<name>/payloads, examples    for documents only: payload_schemas.py, producers/events/examples.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Final

from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.avro.types import short_name
from schemas.catalog.errors import SenderError, UnreadableRecord
from schemas.events.event import ANY, Event
from schemas.events.event_type import EventType, read_event_type
from schemas.input.file_models import Document, KeyPath
from schemas.input.toml_document import parse_toml
from schemas.senders.conditions import Condition
from schemas.senders.header_lines import HeaderLines
from schemas.senders.header_values import AttemptValues
from schemas.senders.manifest import BodySection, SenderFile, Signature, TypeCount, is_event_type, read_sender_file
from schemas.senders.rendering import Render, TimeFormat, envelope, payload
from schemas.senders.signing import SigningKey

DISTRIBUTION: Final = "kafka-signpost"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sender:
    """One product's webhooks. `timeout` applies to an attempt; `schedule` has the delays after failed attempts.

    `event_types` are the listed types; `any_type` applies to all others, or is None. `subscribable` are the types that
    subscriptions may name besides patterns. `envelope_keys` maps keys of the body to fields of the event, and is empty
    if the body is the payload alone. `time_format` is the format of times in the body. `max_subscriptions` is the limit
    per customer. `type_count` says how many event types a subscription names, `has_filters` whether it has filters.
    `header_constants` are values of placeholders in `header_templates`: by placeholder, then event type.
    `trace_context`: a request of a traced job has the header `traceparent`.
    """

    folder: Traversable
    name: str
    title: str
    event_types: Mapping[str, EventType]
    any_type: EventType | None
    subscribable: tuple[str, ...]
    aliases: Mapping[str, str]
    schedule: tuple[timedelta, ...]
    timeout: timedelta
    trace_context: bool
    max_body: int
    max_subscriptions: int | None
    type_count: TypeCount
    has_filters: bool
    key_fields: tuple[str, ...]
    key_fields_of: Mapping[str, tuple[str, ...]]
    conditions: tuple[Condition, ...]
    envelope_keys: Mapping[str, str]
    time_format: TimeFormat | None
    body: Render
    header_templates: Mapping[str, str]
    header_constants: Mapping[str, Mapping[str, str]]
    header_lines: HeaderLines
    signature: Signature

    @property
    def needs_secret(self) -> bool:
        """Whether every subscription has a secret."""
        return self.signature.required

    @property
    def every_type(self) -> str:
        """The name of all types together, in the notation of the sender's subscriptions."""
        return "all" if self.type_count == "exactly_one" else "*"

    @property
    def default_types(self) -> tuple[str, ...]:
        """The event types of a new subscription that names none."""
        return () if self.type_count == "any_number" else (self.every_type,)

    @property
    def header_names(self) -> frozenset[str]:
        """Names of the headers that the sender sets, in lower case."""
        return frozenset(name.lower() for name in (*self.header_templates, *self.signature.header_names))

    @property
    def all_types(self) -> tuple[EventType, ...]:
        """All event types, including `any_type`."""
        return (*self.event_types.values(), *((self.any_type,) if self.any_type is not None else ()))

    def type_of(self, name: str) -> EventType | None:
        """Return the event type with this name; None if the sender does not have it."""
        event_type = self.event_types.get(name)
        if event_type is None and self.any_type is not None and is_event_type(name):
            return self.any_type
        return event_type

    def takes(self, pattern: str) -> bool:
        """Return whether a subscription may name this type, or this group of types (`case.*`)."""
        if pattern in self.subscribable:
            return True
        if pattern.endswith(".*") and any(name.startswith(pattern[:-1]) for name in self.event_types):
            return True
        return self.any_type is not None and is_event_type(pattern.removesuffix(".*"))

    def key_of(self, event: Event) -> str:
        """Return the Kafka key of an event: events with the same key stay in order."""
        fields = self.key_fields_of.get(event.event_type, self.key_fields)
        data: Any = event.data
        if fields and isinstance(data, JsonText):
            data = parse(data.text)
        for field in fields:
            value = data.get(field)
            if isinstance(value, JsonText):
                value = parse(value.text)
            if isinstance(value, str | int) and value != "":
                return str(value)
        return event.event_id

    def problems(self, event_type: str, data: Any) -> Iterator[str]:
        """Yield a sentence for each violated condition of publishing; `data` is in its JSON form."""
        for condition in self.conditions:
            yield from condition.problems(event_type, data)

    def render(self, event: Event) -> bytes:
        """Return the request body: compact JSON in UTF-8, keys in the documented order.

        UnreadableRecord `invalid_value` if a value has no JSON form, `too_large` if the body exceeds `max_body`.
        """
        try:
            body = self.body(event)
        except (TypeError, ValueError, OverflowError) as error:  # JSONEncodeError is a TypeError
            raise UnreadableRecord("invalid_value", f"{type(error).__name__}: {error}") from error
        if len(body) > self.max_body:
            raise UnreadableRecord("too_large", f"the body has {len(body)} bytes; at most {self.max_body} are allowed")
        return body

    def generate_secret(self) -> str:
        """Return a new random secret for a subscription."""
        return self.signature.generate_secret()

    def signing_key(self, secret: str) -> SigningKey:
        """Return the signing key for a secret, built once per subscription; InvalidInput if the secret is invalid."""
        return self.signature.signing_key(secret)

    def headers(self, job: AttemptValues, body: bytes, keys: Sequence[SigningKey], now_s: int) -> list[bytes]:
        """Return all header lines of an attempt, `Name: value`. `keys`: newest first. `now_s`: Unix seconds."""
        return [*self.header_lines.of(job), *self.signature.lines(job.event_id, body, keys, now_s)]

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None = None) -> str | None:
        """Return None if a request is genuine, otherwise the reason. Header names are case-insensitive.

        `now_s`: Unix seconds; None skips the check of the request's time.
        """
        return self.signature.verify({name.lower(): value for name, value in headers.items()}, body, secret, now_s)


@cache
def load_senders() -> Mapping[str, Sender]:
    """Return the built-in senders by name."""
    folder = resources.files("schemas") / "senders"
    found = (
        load_sender(child)
        for child in sorted(folder.iterdir(), key=lambda c: c.name)
        if (child / "sender.toml").is_file()
    )
    return MappingProxyType({sender.name: sender for sender in found})


def load_sender(folder: Traversable) -> Sender:
    """Read the folder of a sender, which has the sender's name. SenderError names file, line and field of an error."""
    file = folder / "sender.toml"
    manifest = parse_toml(_read(file), str(file))
    parsed = read_sender_file(manifest)
    event_types = _read_event_types(folder, parsed, manifest)
    _check_keys(parsed, event_types, manifest)
    version = metadata.version(DISTRIBUTION)
    lines = parsed.event_types
    constants = parsed.constants()
    return Sender(
        folder=folder,
        name=folder.name,
        title=parsed.title,
        event_types=MappingProxyType({name: found for name, found in event_types.items() if name != ANY}),
        any_type=event_types.get(ANY),
        subscribable=tuple(name for name in lines if name != ANY),
        aliases=MappingProxyType({alias: name for name, line in lines.items() for alias in line.aliases}),
        schedule=parsed.delivery.schedule,
        timeout=parsed.delivery.timeout,
        trace_context=parsed.delivery.trace_context,
        max_body=parsed.body.max_bytes,
        max_subscriptions=parsed.limits.subscriptions,
        type_count=parsed.subscriptions.event_types,
        has_filters=parsed.subscriptions.filters,
        key_fields=parsed.kafka.key,
        key_fields_of=MappingProxyType({name: line.key for name, line in lines.items() if line.key is not None}),
        conditions=parsed.conditions,
        envelope_keys=MappingProxyType(dict(parsed.body.envelope)),
        time_format=parsed.body.time_format,
        body=_body(parsed.body),
        header_templates=MappingProxyType(dict(parsed.headers)),
        header_constants=MappingProxyType(constants),
        header_lines=HeaderLines(parsed.headers, version, constants),
        signature=parsed.signature,
    )


def _body(body: BodySection) -> Render:
    return payload if body.time_format is None else envelope(body.envelope, body.time_format)


def _check_keys(parsed: SenderFile, event_types: Mapping[str, EventType], manifest: Document) -> None:
    """Refuse key fields that no event type has. An event type with free-form data may have any field."""

    def check(fields: Sequence[str], types: Sequence[EventType], path: KeyPath) -> None:
        if any(event_type.data_fields is None for event_type in types):
            return
        known = {field for event_type in types for field in event_type.data_fields or ()}
        for field in fields:
            if field not in known:
                raise SenderError(f"{manifest.place(path)}: no event type has a field {field!r} in data")

    check(parsed.kafka.key, list(event_types.values()), ("kafka", "key"))
    for name, line in parsed.event_types.items():
        if name in event_types and line.key is not None:
            check(line.key, [event_types[name]], ("event_types", name))


def _read_event_types(folder: Traversable, parsed: SenderFile, manifest: Document) -> dict[str, EventType]:
    events = folder / "events"
    files = {f.name.removesuffix(".avsc"): f for f in events.iterdir()} if events.is_dir() else {}
    wanted = {name: line.record or name for name, line in parsed.event_types.items() if line.published}
    for name, file in sorted(files.items()):
        if name not in wanted.values():
            raise SenderError(f"{file}: event type {name!r} is not under [event_types] of sender.toml")
    read: dict[str, EventType] = {}
    owners: dict[str, str] = {}
    event_types: dict[str, EventType] = {}
    for name, record in wanted.items():
        trigger = parsed.event_types[name].trigger
        if record not in read:
            file = events / f"{record}.avsc"
            if not file.is_file():
                where = manifest.place(("event_types", name))
                raise SenderError(f"{where}: the record is missing: {file} does not exist")
            try:
                read[record] = read_event_type(name, trigger, _read(file), str(file))
            except RecursionError:
                raise SenderError(f"{file}: nested too deeply") from None
            short = short_name(read[record].tree.name)
            if (owner := owners.setdefault(short, record)) != record:
                raise SenderError(f"{file}: name: {owner}.avsc also has a record {short}; choose another name")
        event_types[name] = read[record].named(name, trigger)
    return event_types


def _read(file: Traversable) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SenderError(f"{file}: the file is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SenderError(f"{file}: the file cannot be read: {error}") from error

"""The file sender.toml: the format of one product's webhooks. docs/senders/README.md describes every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator

from schemas.catalog.errors import SenderError
from schemas.events.event import ANY
from schemas.input.file_models import Document, Duration, FileModel, KeyPath
from schemas.input.suggestions import did_you_mean
from schemas.senders.conditions import Condition
from schemas.senders.header_lines import KNOWN, PLACEHOLDER
from schemas.senders.rendering import EventField, TimeFormat
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import StandardWebhooks

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A sender may accept any event type. Its name then comes from events, and appears in log fields and headers.
_LONGEST_NAME: Final = 256


def _whole_seconds(value: timedelta) -> timedelta:
    # Names of delay topics contain whole seconds, minutes or hours.
    if value <= timedelta(0) or value.microseconds:
        raise ValueError("expected one second or more, in whole seconds")
    return value


def is_event_type(name: str) -> bool:
    """Return whether a name is a valid event type. `all` and `*` mean every type in subscriptions."""
    return name != "all" and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _event_type_name(value: str) -> str:
    if value != ANY and not is_event_type(value):
        raise ValueError(
            "an event type has only letters, digits, '.', '_' and '-', and is not 'all'; '*' is any event type"
        )
    return value


def _header_value(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]+", value) or value != value.strip():
        raise ValueError("a header value is printable ASCII without a space at its start or end")
    return value


def _file_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("the name of a schema is the name of its file in events/, without .avsc")
    return value


Wait = Annotated[Duration, AfterValidator(_whole_seconds)]
EventTypeName = Annotated[str, AfterValidator(_event_type_name)]
SchemaName = Annotated[str, AfterValidator(_file_name)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Signature: TypeAlias = Annotated[HmacSha256Hex | StandardWebhooks, Field(discriminator="scheme")]
TypeCount: TypeAlias = Literal["at_least_one", "any_number", "exactly_one"]
"""How many event types a subscription names. `exactly_one`: a single type, or `all`."""


class EventTypeLine(FileModel):
    """One line of `[event_types]`. Additional keys are constants for header templates."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, HeaderValue]

    trigger: str
    # The file in events/; default: the file with the name of the type.
    record: SchemaName | None = None
    # False: subscriptions may name the type, but it is never published.
    published: StrictBool = True
    # Replaces kafka.key for this type.
    key: tuple[str, ...] | None = None
    # Other names of the type in documents of the product.
    aliases: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, str]:
        """Values by placeholder."""
        return self.__pydantic_extra__


class BodySection(FileModel):
    """`[body]`: the request body."""

    form: Literal["envelope", "payload"] = "envelope"
    time_format: TimeFormat | None = None
    max_bytes: StrictInt = Field(gt=0)
    envelope: dict[str, EventField] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_what_its_form_needs(self) -> BodySection:
        if self.form == "payload" and (self.envelope or self.time_format):
            raise ValueError('form = "payload" sends the payload alone; remove envelope and time_format')
        if self.form == "envelope" and not (self.envelope and self.time_format):
            raise ValueError("an envelope needs time_format and [body.envelope]")
        return self


class DeliverySection(FileModel):
    """`[delivery]`: timeout of an attempt, delay after each failed attempt, and whether requests have `traceparent`."""

    timeout: Wait
    schedule: tuple[Wait, ...]
    trace_context: StrictBool = False


class KafkaSection(FileModel):
    """`[kafka]`: fields of `data`; the first one with a value is the record key."""

    key: tuple[str, ...]


class LimitsSection(FileModel):
    """`[limits]`: limits per customer."""

    subscriptions: StrictInt | None = Field(default=None, ge=1)


class SubscriptionsSection(FileModel):
    """`[subscriptions]`: how many event types a subscription names, and whether it has `filters`."""

    event_types: TypeCount = "at_least_one"
    filters: StrictBool = False


class SenderFile(FileModel):
    """The whole file."""

    without_effect = MappingProxyType(
        {
            "api": "no REST API exists that this key could select",
            "evaluate_filters": "filters of subscriptions are not evaluated",
        }
    )

    title: str
    event_types: dict[EventTypeName, EventTypeLine] = Field(min_length=1)
    body: BodySection
    headers: dict[HeaderName, HeaderValue]
    signature: Signature
    delivery: DeliverySection
    kafka: KafkaSection
    limits: LimitsSection = LimitsSection()
    subscriptions: SubscriptionsSection = SubscriptionsSection()
    conditions: tuple[Condition, ...] = ()

    def constants(self) -> dict[str, dict[str, str]]:
        """Return the constants of header templates: by placeholder, then by event type."""
        found: dict[str, dict[str, str]] = {}
        for event_type, line in self.event_types.items():
            for name, value in line.constants.items():
                found.setdefault(name, {})[event_type] = value
        return found


def read_sender_file(document: Document) -> SenderFile:
    """Read a sender.toml; SenderError has one line per error, with file, line, key and description."""
    try:
        parsed = SenderFile.model_validate(document.data)
    except ValidationError as error:
        problems = sorted(document.problems(error), key=lambda problem: problem.line)
        raise SenderError("\n".join(f"{document.place(path)}: {what}" for _, path, what in problems)) from error
    if contradictions := [f"{document.place(path)}: {what}" for path, what in _contradictions(parsed)]:
        raise SenderError("\n".join(contradictions))
    return parsed


def _contradictions(parsed: SenderFile) -> Iterator[tuple[KeyPath, str]]:
    """Yield contradictions between tables, each with its key."""
    yield from _unknown_placeholders(parsed)
    used = {name for template in parsed.headers.values() for name in PLACEHOLDER.findall(template)}
    for event_type, line in parsed.event_types.items():
        for name in line.constants:
            if name not in used:
                what = f"unknown key {name}: no header has {{{name}}} in its value"
                yield ("event_types", event_type), what + did_you_mean(name, EventTypeLine.model_fields)
    for number, condition in enumerate(parsed.conditions):
        for name in condition.event_types or ():
            if name not in parsed.event_types:
                what = f"there is no event type {name!r}{did_you_mean(name, parsed.event_types)}"
                yield ("conditions", number, "event_types"), what


def _unknown_placeholders(parsed: SenderFile) -> Iterator[tuple[KeyPath, str]]:
    """Yield placeholders that neither Signpost nor every event type has a value for."""
    for header, template in parsed.headers.items():
        for name in PLACEHOLDER.findall(template):
            lacking = [event_type for event_type, line in parsed.event_types.items() if name not in line.constants]
            if name in KNOWN or not lacking:
                continue
            if len(lacking) == len(parsed.event_types):
                known = ", ".join(f"{{{one}}}" for one in KNOWN)
                yield ("headers", header), f"unknown placeholder {{{name}}}; known: {known}, and keys of [event_types]"
            else:
                yield ("event_types", lacking[0]), f"the key {name} is missing; the header {header} needs it"

"""A sender.toml: how one product's webhooks look, as data. docs/senders/README.md describes every key."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from schemas.conditions import Condition
from schemas.durations import parse_duration
from schemas.errors import InvalidInput, SenderError
from schemas.event import ANY
from schemas.header_lines import KNOWN, PLACEHOLDER
from schemas.near import did_you_mean, nearest
from schemas.rendering import EventField, TimeFormat
from schemas.signing import HmacSha256Hex
from schemas.standard_webhooks import StandardWebhooks

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Names of types come from outside where a sender takes any: they become labels of logs, and parts of headers.
_LONGEST_NAME: Final = 256
# Problems whose sentence says all: what was found would only repeat it.
_SELF_EVIDENT: Final = frozenset({"missing", "extra_forbidden", "union_tag_invalid"})


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError("expected a duration in quotes, such as '30s'")
    try:
        return parse_duration(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def _whole_seconds(value: timedelta) -> timedelta:
    # Delay topics are named by whole seconds, minutes or hours.
    if value <= timedelta(0) or value.microseconds:
        raise ValueError("expected one second or more, in whole seconds")
    return value


def is_event_type(name: str) -> bool:
    """Tell whether a name can be that of an event type. `all` and `*` mean every type in subscriptions."""
    return name != "all" and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _event_type_name(value: str) -> str:
    if value != ANY and not is_event_type(value):
        raise ValueError("an event type is of letters, digits, '.', '_' and '-', and is not 'all'; '*' is any")
    return value


def _header_value(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]+", value) or value != value.strip():
        raise ValueError("a header value is printable ASCII without space around it")
    return value


def _file_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("the name of a schema is that of its file in events/, without .avsc")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_whole_seconds)]
EventTypeName = Annotated[str, AfterValidator(_event_type_name)]
SchemaName = Annotated[str, AfterValidator(_file_name)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
Signature: TypeAlias = Annotated[HmacSha256Hex | StandardWebhooks, Field(discriminator="scheme")]
ApiFlavour: TypeAlias = Literal["native", "onboarding", "diligent"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventTypeLine(_Table):
    """One line of `[event_types]`. What it has beyond these keys is a constant for templates of headers."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, HeaderValue]

    trigger: str
    # The file in events/; by default that of the type's own name.
    record: SchemaName | None = None
    # False: subscriptions may name the type, and nobody publishes it.
    published: bool = True
    # In place of kafka.key.
    key: tuple[str, ...] | None = None
    # Other names under which documents of the product have the type.
    aliases: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, str]:
        """Values by the placeholder that they stand for."""
        return self.__pydantic_extra__


class Body(_Table):
    """`[body]`: the request body."""

    form: Literal["envelope", "payload"] = "envelope"
    time_format: TimeFormat | None = None
    max_bytes: int = Field(gt=0)
    envelope: dict[str, EventField] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_what_its_form_needs(self) -> Body:
        if self.form == "payload" and (self.envelope or self.time_format):
            raise ValueError('form = "payload" is the payload alone, without envelope and time_format')
        if self.form == "envelope" and not (self.envelope and self.time_format):
            raise ValueError("an envelope needs time_format and [body.envelope]")
        return self


class Delivery(_Table):
    """`[delivery]`: how long to wait for an answer, and how long after each failure."""

    timeout: Duration
    schedule: tuple[Duration, ...]


class Kafka(_Table):
    """`[kafka]`: fields of `data`, the first of which that has a value is the key."""

    key: tuple[str, ...]


class Limits(_Table):
    """`[limits]`: what a customer may have."""

    subscriptions: int | None = Field(default=None, ge=1)


class SenderFile(_Table):
    """The whole file."""

    title: str
    api: ApiFlavour = "native"
    evaluate_filters: bool = False
    event_types: dict[EventTypeName, EventTypeLine] = Field(min_length=1)
    body: Body
    headers: dict[HeaderName, HeaderValue]
    signature: Signature
    delivery: Delivery
    kafka: Kafka
    limits: Limits = Limits()
    conditions: tuple[Condition, ...] = ()

    def constants(self) -> dict[str, dict[str, str]]:
        """Return the constants of headers: by placeholder, then by event type."""
        found: dict[str, dict[str, str]] = {}
        for event_type, line in self.event_types.items():
            for name, value in line.constants.items():
                found.setdefault(name, {})[event_type] = value
        return found


def read_sender_file(text: str, file: str) -> SenderFile:
    """Read a sender.toml; SenderError has a line for everything wrong with it: file, line, field and what."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise SenderError(f"{file}{f':{line[1]}' if line else ''}: not TOML: {error}") from error
    except RecursionError:
        raise SenderError(f"{file}: not TOML that can be read: it is nested too deeply") from None
    try:
        parsed = SenderFile.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A key that is misspelt is not missing as well.
        meant = {(*problem["loc"][:-1], near) for problem in found if (near := _meant(problem)) is not None}
        problems = [_sentence(problem, text, file) for problem in found if problem["loc"] not in meant]
        raise SenderError("\n".join(problems)) from error
    problems = [f"{_where(file, text, path)}: {what}" for path, what in _contradictions(parsed)]
    if problems:
        raise SenderError("\n".join(problems))
    return parsed


def _contradictions(parsed: SenderFile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what no table can see alone, each with the key that it is about."""
    used: set[str] = set()
    for header, template in parsed.headers.items():
        for name in PLACEHOLDER.findall(template):
            used.add(name)
            lacking = [kind for kind, line in parsed.event_types.items() if name not in line.constants]
            if name in KNOWN or not lacking:
                continue
            if len(lacking) == len(parsed.event_types):
                known = ", ".join(f"{{{one}}}" for one in KNOWN)
                yield ("headers", header), f"unknown placeholder {{{name}}}; known: {known}, and keys of [event_types]"
            else:
                yield ("event_types", lacking[0]), f"the key {name} is missing; the header {header} is made of it"
    for event_type, line in parsed.event_types.items():
        for name in line.constants:
            if name not in used:
                what = f"unknown key {name}: no header has {{{name}}} in its value"
                yield ("event_types", event_type), what + did_you_mean(name, EventTypeLine.model_fields)
    for number, condition in enumerate(parsed.conditions):
        for name in condition.event_types or ():
            if name not in parsed.event_types:
                what = f"there is no event type {name!r}{did_you_mean(name, parsed.event_types)}"
                yield ("conditions", str(number), "event_types"), what


def _where(file: str, text: str, path: tuple[str, ...]) -> str:
    line = line_of(text, path)
    return f"{file}{f':{line}' if line else ''}: {'.'.join(path)}"


def _sentence(problem: Mapping[str, Any], text: str, file: str) -> str:
    path = tuple(str(part) for part in problem["loc"] if part != "[key]")
    if path[0] == "signature":  # what follows is the scheme that was taken, which is no key
        path = ("signature", "scheme") if problem["type"].startswith("union_tag") else ("signature", *path[2:])
    what = {
        "missing": "the key is missing",
        "extra_forbidden": "unknown key",
    }.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))
    if problem["type"] == "union_tag_invalid":
        what = f"{problem['ctx']['tag']!r} is not one of {problem['ctx']['expected_tags']}"
    near = _meant(problem)
    what += "" if near is None else f"; did you mean {near}?"
    found = "" if problem["type"] in _SELF_EVIDENT else f" (found {problem['input']!r})"
    return f"{_where(file, text, path)}: {what}{found}"


def _meant(problem: Mapping[str, Any]) -> str | None:
    """Return the key that an unknown one is near to."""
    if problem["type"] != "extra_forbidden":
        return None
    kind: Any = SenderFile
    for part in problem["loc"][:-1]:
        kind = _inside(kind, part)
    return nearest(str(problem["loc"][-1]), getattr(kind, "model_fields", ()))


def _inside(kind: Any, part: str | int) -> Any:
    """Return the type of what is at a key, a number, or a scheme in a table of this type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields[str(part)].annotation if part in kind.model_fields else None
    options = get_args(kind)
    if part in (schemes := {scheme: one for one in options for scheme in _schemes(one)}):
        return schemes[part]
    return next((one for one in reversed(options) if one is not Ellipsis), None)


def _schemes(kind: Any) -> tuple[Any, ...]:
    field = getattr(kind, "model_fields", {}).get("scheme")
    return () if field is None else get_args(field.annotation)


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line that sets the key at `path`, or the line nearest above it in the file's tables."""
    table: tuple[str, ...] = ()
    best: tuple[int, int] | None = None
    counts: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+([^\]]+)\]+", line)
        key = re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*=""", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            if line.lstrip().startswith("[["):  # each one is a further element of an array
                table = (*table, str(counts[header[1]]))
                counts[header[1]] += 1
            here = table
        elif key:
            here = (*table, key[1] or key[2] or key[3] or "")
        else:
            continue
        if here == path[: len(here)] and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None

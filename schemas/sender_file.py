"""A sender.toml: how one product's webhooks look, as data. docs/senders/README.md describes every key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from schemas.durations import parse_duration
from schemas.errors import InvalidInput, SenderError
from schemas.signing import HmacSha256Hex


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


def _event_type_name(value: str) -> str:
    # `all` and `*` mean every type in subscriptions; the name is also a file's name.
    if value == "all" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("an event type is of letters, digits, '.', '_' and '-', and is not 'all'")
    return value


def _header_value(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]+", value) or value != value.strip():
        raise ValueError("a header value is printable ASCII without space around it")
    unknown = set(re.findall(r"\{([^}]*)\}", value)) - {"version"}
    if unknown:
        raise ValueError(f"unknown placeholder {{{min(unknown)}}}; known: {{version}}")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_whole_seconds)]
EventTypeName = Annotated[str, AfterValidator(_event_type_name)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
EventField = Literal["event_id", "event_type", "created_at", "customer_id", "data"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventTypeLine(_Table):
    """One line of `[event_types]`."""

    trigger: str


class Body(_Table):
    """`[body]`: the request body."""

    time_format: Literal["seconds"]
    max_bytes: int = Field(gt=0)
    envelope: dict[str, EventField] = Field(min_length=1)


class Delivery(_Table):
    """`[delivery]`: how long to wait for an answer, and how long after each failure."""

    timeout: Duration
    schedule: tuple[Duration, ...]


class Kafka(_Table):
    """`[kafka]`: fields of `data`, the first of which that has a value is the key."""

    key: tuple[str, ...]


class SenderFile(_Table):
    """The whole file."""

    title: str
    event_types: dict[EventTypeName, EventTypeLine] = Field(min_length=1)
    body: Body
    headers: dict[HeaderName, HeaderValue]
    signature: HmacSha256Hex
    delivery: Delivery
    kafka: Kafka


def read_sender_file(text: str, file: str) -> SenderFile:
    """Read a sender.toml; SenderError has a line for everything wrong with it: file, line, field and what."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise SenderError(f"{file}{f':{line[1]}' if line else ''}: not TOML: {error}") from error
    try:
        return SenderFile.model_validate(document)
    except ValidationError as error:
        problems = [_sentence(problem, text, file) for problem in error.errors(include_url=False)]
        raise SenderError("\n".join(problems)) from error


def _sentence(problem: Mapping[str, Any], text: str, file: str) -> str:
    path = tuple(str(part) for part in problem["loc"] if part != "[key]")
    what = {
        "missing": "the key is missing",
        "extra_forbidden": "unknown key",
    }.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))
    found = "" if problem["type"] in {"missing", "extra_forbidden"} else f" (found {problem['input']!r})"
    line = line_of(text, path)
    return f"{file}{f':{line}' if line else ''}: {'.'.join(path)}: {what}{found}"


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line that sets the key at `path`, or the line nearest above it in the file's tables."""
    table: tuple[str, ...] = ()
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+([^\]]+)\]+", line)
        key = re.match(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*=""", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            here = table
        elif key:
            here = (*table, key[1] or key[2] or key[3] or "")
        else:
            continue
        if here == path[: len(here)] and (best is None or len(here) > best[0]):
            best = (len(here), number)
    return best[1] if best else None

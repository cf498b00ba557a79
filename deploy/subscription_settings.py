"""Settings of a subscription as people write them: in a file, and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final, TypedDict, TypeVar

import yaml

from deploy.yaml_nodes import Fields, NodeReader, is_null
from schemas.client_certificate import CertificateWish, read_certificate
from schemas.durations import parse_duration
from schemas.errors import InvalidInput
from schemas.header_rules import HeaderWish
from schemas.rules import KEEP, Keep

T = TypeVar("T")
FIELDS: Final = ("headers", "client_certificate", "schedule", "timeout", "max_in_flight", "rate_limit")
# For whom a schedule, a timeout or a limit of its own is to go again.
DEFAULT: Final = "default"
_CERTIFICATE: Final = ("certificate_file", "key_file", "key_env")


class Settings(TypedDict):
    """The settings of a draft, by the names of its fields."""

    headers: tuple[HeaderWish, ...] | Keep
    client_certificate: CertificateWish | Keep | None
    schedule: tuple[timedelta, ...] | Keep | None
    timeout: timedelta | Keep | None
    max_in_flight: int | Keep | None
    rate_limit: float | Keep | None


def read_settings(reader: NodeReader, fields: Fields) -> Settings:
    """Read the settings of one subscription; what is sealed stays where nothing is said of it, all else does not."""
    headers = fields.read("headers", partial(_headers, reader), KEEP)
    fields.bad.discard("headers")  # those that could be read are whole
    return Settings(
        headers=headers,
        client_certificate=fields.read("client_certificate", partial(_certificate, reader), KEEP),
        schedule=fields.read("schedule", partial(_schedule, reader), None),
        timeout=fields.read("timeout", partial(_timeout, reader), None),
        max_in_flight=fields.read("max_in_flight", partial(_whole_number, reader), None),
        rate_limit=fields.read("rate_limit", partial(_number, reader), None),
    )


def read_schedule(text: str) -> tuple[timedelta, ...] | None:
    """Read `5s,1m`: the wait after each failed attempt; `none`: one attempt; `default` (None): the sender's."""
    if text == DEFAULT:
        return None
    return () if text == "none" else tuple(parse_duration(step.strip()) for step in text.split(","))


def _number(reader: NodeReader, node: yaml.Node, name: str) -> float | None:
    return None if is_null(node) else reader.number(node, name)


def _whole_number(reader: NodeReader, node: yaml.Node, name: str) -> int | None:
    number = _number(reader, node, name)
    if number is not None and not number.is_integer():  # nor is infinity
        reader.note(node, f"{name}: write a whole number")
        return None
    return None if number is None else int(number)


def _timeout(reader: NodeReader, node: yaml.Node, name: str) -> timedelta | None:
    return None if is_null(node) else _parsed(reader, node, name, lambda: parse_duration(reader.text(node, name)))


def _schedule(reader: NodeReader, node: yaml.Node, name: str) -> tuple[timedelta, ...] | None:
    if is_null(node):
        return None
    steps = reader.texts(node, name, "of waits, such as [5s, 1m, 30m]")
    return _parsed(reader, node, name, lambda: tuple(parse_duration(step) for step in steps))


def _parsed(reader: NodeReader, node: yaml.Node, name: str, parse: Callable[[], T]) -> T | None:
    before = len(reader.problems)
    try:
        return parse()
    except InvalidInput as error:
        if len(reader.problems) == before:  # else it was no text, which was said
            reader.note(node, f"{name}: {error}")
        return None


def _headers(reader: NodeReader, node: yaml.Node, name: str) -> tuple[HeaderWish, ...]:
    if is_null(node):
        return ()
    if not isinstance(node, yaml.MappingNode):
        reader.note(node, f"{name}: write each as `Name: value`, or `Name: {{env: VARIABLE}}` or `{{file: …}}`")
        return ()
    wishes = []
    for key, value in node.value:
        before = len(reader.problems)
        header = reader.text(key, name)
        wish = HeaderWish(header, _value(reader, value, f"{name}: {header[:100]}"))
        if len(reader.problems) == before:
            wishes.append(wish)
    return tuple(wishes)


def _value(reader: NodeReader, node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.MappingNode):
        return reader.text(node, name)
    fields = reader.fields(node, f"{name}: ", ("env", "file"))
    if set(fields) not in ({"env"}, {"file"}):
        reader.note(node, f"{name}: write `env: VARIABLE` or `file: …`, one of the two")
        return ""
    [(kind, where)] = fields.items()
    fetch = reader.from_environment if kind == "env" else reader.from_file
    return fetch(where, f"{name}: {kind}", reader.text(where, f"{name}: {kind}")) or ""


def _certificate(reader: NodeReader, node: yaml.Node, name: str) -> CertificateWish | None:
    if is_null(node):
        return None
    fields = reader.fields(node, f"{name}: ", _CERTIFICATE) if isinstance(node, yaml.MappingNode) else {}
    key_field = "key_env" if "key_env" in fields else "key_file"
    if set(fields) != {"certificate_file", key_field}:
        reader.note(node, f"{name}: write certificate_file, and key_file or key_env")
        return None
    texts = []
    for field in ("certificate_file", key_field):
        fetch = reader.from_environment if field == "key_env" else reader.from_file
        texts.append(fetch(fields[field], f"{name}: {field}", reader.text(fields[field], f"{name}: {field}")))
    if not all(texts):
        return None
    return _parsed(reader, node, name, lambda: read_certificate(texts[0] or "", texts[1] or ""))

"""Other serialisations of a JSON body, and the one that Signpost sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.avro.json_form import is_members
from schemas.avro.json_parser import integer
from schemas.avro.json_text import ExactFloat
from schemas.avro.json_writer import compact
from schemas.avro.types import Array, AvroType, Map, Primitive, Record, Reference, Union, is_null
from schemas.senders.sender import Sender

# A JSON string, whitespace, a separator, or other text. An unterminated string matches up to the end of the text;
# searching for its end from each quote would take quadratic time.
_TOKEN: Final = re.compile(r'(?P<string>"(?:[^"\\]++|\\.)*+"?)|(?P<space>\s+)|(?P<sign>[,:])|[^"\s,:]+', re.DOTALL)
_MOST_DEPTH: Final = 200


def without_spaces(text: str) -> str:
    """Return JSON without whitespace between its values; numbers, escapes and the order of keys stay unchanged."""
    return _rewritten(text, ",", ":", _same)


def serialisations(text: str) -> Iterator[tuple[str, str]]:
    """Yield other texts of the same JSON value. Numbers and the order of keys stay as they are."""
    bare = without_spaces(text)
    if bare != text:
        yield "it was re-serialized with spaces or line breaks (pretty-printed)", bare
    for escape, how in (
        (_unescaped, "it was re-serialized with other escapes"),
        (_ascii, "it was re-serialized without escapes"),
        (_ascii_and_slashes, "it was re-serialized without escapes"),
    ):
        yield how, _rewritten(text, ",", ":", escape)
    for escape in (_same, _ascii, _unescaped):
        yield "it was re-serialized without spaces", _rewritten(text, ", ", ": ", escape)
    value = exact_value(text)
    if isinstance(value, dict | list):
        for how, options in (
            ("it was re-serialized without line breaks", {"indent": 2}),
            ("it was re-serialized without line breaks", {"indent": 4}),
            ("it was re-serialized with its keys in another order", {"sort_keys": True, "separators": (",", ":")}),
        ):
            try:
                yield how, json.dumps(value, ensure_ascii=False, **options)
            except (ValueError, RecursionError, TypeError):
                continue


def rendered(text: str, sender: Sender) -> str | None:
    """Return a body as the sender writes it: keys in the order of its schema; None if it is not JSON or has other keys.

    A JSON parser that sorts keys, or reads 1.0 as 1, changes a body in ways that the schema undoes.
    """
    value = exact_value(text)
    if not isinstance(value, dict):
        return None
    fields = {field: key for key, field in sender.envelope_keys.items()}
    if set(value) != set(sender.envelope_keys):
        return None
    ordered = {key: value[key] for key in sender.envelope_keys}
    name = value.get(fields.get("event_type", ""))
    event_type = sender.type_of(name) if isinstance(name, str) else None
    data = fields.get("data")
    try:
        if event_type is not None and data is not None:
            ordered[data] = _in_order(ordered[data], event_type.data)
        return compact(ordered)
    except (TypeError, ValueError, RecursionError):
        return None


def has_order_of(one: str, other: str) -> bool:
    """Return whether the objects of two JSON texts have the same keys in the same order."""
    return _keys(one) == _keys(other)


def _keys(text: str) -> list[str]:
    keys: list[str] = []

    def add(pairs: list[tuple[str, Any]]) -> None:
        keys.extend(key for key, _ in pairs)

    json.loads(text, object_pairs_hook=add, parse_int=str)
    return keys


def exact_value(text: str) -> Any:
    """Return the value of JSON text, with numbers that are written again digit by digit; None if it is not JSON."""
    try:
        return json.loads(text, parse_float=ExactFloat.of, parse_int=integer)
    except (ValueError, RecursionError):
        return None


def depth_of_whitespace(text: str) -> int | None:
    """Return in how many objects and lists the least nested whitespace of JSON text is; None if there is none."""
    depth, least = 0, None
    for token in _TOKEN.finditer(text):
        if token["space"] is not None:
            least = depth if least is None else min(least, depth)
        elif token["string"] is None:
            part = token[0]
            depth += part.count("{") + part.count("[") - part.count("}") - part.count("]")
    return least


def _rewritten(text: str, comma: str, colon: str, escape: Any) -> str:
    parts: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["string"] is not None:
            parts.append(escape(token[0]))
        elif token["sign"] is not None:
            parts.append(comma if token[0] == "," else colon)
        elif token["space"] is None:
            parts.append(token[0])
    return "".join(parts)


def _same(string: str) -> str:
    return string


def _string(string: str, *, ascii_only: bool) -> str:
    try:
        return json.dumps(json.loads(string, strict=False), ensure_ascii=ascii_only)
    except ValueError:
        return string


def _unescaped(string: str) -> str:
    return _string(string, ascii_only=False) if "\\" in string else string


def _ascii(string: str) -> str:
    return string if string.isascii() and "\\" not in string else _string(string, ascii_only=True)


def _ascii_and_slashes(string: str) -> str:
    return _ascii(string).replace("/", "\\/")


def _in_order(value: Any, node: AvroType, depth: int = 0) -> Any:
    """Return a value with the keys of its objects in the order of the schema."""
    if depth > _MOST_DEPTH:
        return value
    found = value
    match node:
        case Reference():
            found = _in_order(value, node.target, depth + 1)
        case Union():
            branches = [branch for branch in node.others if not is_null(branch)]
            found = _in_order(value, branches[0], depth + 1) if len(branches) == 1 else value
        case Array() if isinstance(value, list):
            found = [_in_order(item, node.items, depth + 1) for item in value]
        case Map() if isinstance(value, dict):
            found = {key: _in_order(item, node.values, depth + 1) for key, item in value.items()}
        case Record() if isinstance(value, dict):
            found = _record_in_order(value, node, depth)
        case Primitive(name="double" | "float") if type(value) is int:
            found = float(value)
    return found


def _record_in_order(value: Mapping[str, Any], record: Record, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = {field.name for field in record.fields}
    for field in record.fields:
        if is_members(field):
            found |= {key: inner for key, inner in value.items() if key not in names}
        elif field.name in value:
            found[field.name] = _in_order(value[field.name], field.type, depth + 1)
    return found | {key: inner for key, inner in value.items() if key not in found}


def json_or_none(text: str) -> Any:
    """Return the value of a JSON text, None if it is not JSON or has too many levels."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

"""A check of JSON Schemas (2020-12) that people write: keywords, their values, and references inside of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from schemas.input.suggestions import did_you_mean

_Checker: TypeAlias = Callable[[Any, str, Mapping[str, Any]], Iterator[str]]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS: Final = "#/$defs/"
_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
# Of the root alone. A schema becomes a part of another document, so references have to work without `$id`.
_OF_ROOT: Final = ("$schema", "$id")
_SHOWN: Final = 60


def schema_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each error, with its path in the schema."""
    if schema.get("$schema", DIALECT) != DIALECT:
        yield f"$schema: expected {DIALECT}"
    definitions = schema.get("$defs")
    known = definitions if isinstance(definitions, Mapping) else {}
    yield from _schema({key: value for key, value in schema.items() if key not in _OF_ROOT}, "", known)


def _schema(schema: Any, path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        yield f"{path}: expected a schema, found {_short(schema)}"
        return
    for key, value in schema.items():
        place = f"{path}.{key}" if path else key
        checker = _KEYWORDS.get(key)
        if checker is not None:
            yield from checker(value, place, definitions)
        elif not key.startswith("x-"):
            yield f"{place}: unknown keyword{did_you_mean(key, _KEYWORDS)}; keys of your own begin with x-"


def _reference(value: Any, path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    if not (isinstance(value, str) and value.startswith(_DEFINITIONS)):
        yield f"{path}: expected {_DEFINITIONS}…, a schema in this file"
    elif (name := value.removeprefix(_DEFINITIONS)) not in definitions:
        yield f"{path}: $defs has no {name}{did_you_mean(name, definitions)}"


def _by_name(value: Any, path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path}: expected schemas by name, found {_short(value)}"
        return
    for name, schema in value.items():
        yield from _schema(schema, f"{path}.{name}", definitions)


def _several(value: Any, path: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    if not (isinstance(value, list) and value):
        yield f"{path}: expected a list of schemas, found {_short(value)}"
        return
    for number, schema in enumerate(value):
        yield from _schema(schema, f"{path}[{number}]", definitions)


def _type(value: Any, path: str, _definitions: Mapping[str, Any]) -> Iterator[str]:
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if name not in _TYPES:
            known = did_you_mean(name, _TYPES) if isinstance(name, str) else ""
            yield f"{path}: expected one or more of {', '.join(_TYPES)}, found {_short(name)}{known}"
    if len(names) != len({repr(name) for name in names}):
        yield f"{path}: a type occurs twice"


def _holds(expected: str, is_allowed: Callable[[Any], bool]) -> _Checker:
    """Return a checker of a keyword with a plain value."""

    def check(value: Any, path: str, _definitions: Mapping[str, Any]) -> Iterator[str]:
        if not is_allowed(value):
            yield f"{path}: expected {expected}, found {_short(value)}"

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len({*value}) == len(value)


def _short(value: Any) -> str:
    return repr(value)[:_SHOWN]


_ANY: Final = _holds("any value", lambda _value: True)
_TEXT: Final = _holds("text", lambda value: isinstance(value, str))
_FLAG: Final = _holds("true or false", lambda value: isinstance(value, bool))
_LIST: Final = _holds("a list", lambda value: isinstance(value, list))
_NAMES: Final = _holds("a list of different names", _is_names)
_NUMBER: Final = _holds("a number", _is_number)
_STEP: Final = _holds("a number above 0", lambda value: _is_number(value) and value > 0)
_SIZE: Final = _holds("a whole number", lambda value: _is_number(value) and isinstance(value, int) and value >= 0)

_KEYWORDS: Final[Mapping[str, _Checker]] = {
    "$ref": _reference,
    "type": _type,
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas", "$defs"), _by_name),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _several),
    **dict.fromkeys(
        ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"), _schema
    ),
    **dict.fromkeys(("title", "description", "format", "pattern", "$comment", "contentMediaType"), _TEXT),
    **dict.fromkeys(("deprecated", "readOnly", "writeOnly", "uniqueItems"), _FLAG),
    **dict.fromkeys(("enum", "examples"), _LIST),
    **dict.fromkeys(("const", "default"), _ANY),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _SIZE),
    "required": _NAMES,
    "multipleOf": _STEP,
}

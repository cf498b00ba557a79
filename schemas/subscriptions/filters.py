"""Filters of a subscription: a JSON object that is stored and returned. Nothing evaluates it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import orjson

from schemas.avro.json_text import JsonText, embedded
from schemas.avro.json_writer import compact
from schemas.catalog.errors import InvalidInput

MAX_FILTERS: Final = 16_384  # characters of the compact text
MAX_DEPTH: Final = 32
NO_FILTERS: Final = "{}"


def read_filters(text: str) -> str:
    """Return the text of a JSON object in compact form, with its numbers as written; InvalidInput if it is not one."""
    value = _parsed(text)
    if not isinstance(value, dict):
        raise InvalidInput('expected a JSON object, such as {"country": "GB"}')
    return filters_text(value)


def filters_text(filters: Mapping[str, Any], scalar: Callable[[Any], Any] = lambda value: value) -> str:
    """Return an object as compact JSON text; InvalidInput if it has no JSON form or is too large.

    `scalar` converts each value that is neither a mapping nor a list. An object that contains itself, or that contains
    one list many times, is too large as well.
    """
    count = 0

    def converted(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if depth > MAX_DEPTH:
            raise InvalidInput(f"nested too deeply; at most {MAX_DEPTH} levels are allowed")
        if count > MAX_FILTERS:  # each value needs at least one character
            raise _too_large()
        if isinstance(value, Mapping):
            return {key: converted(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [converted(inner, depth + 1) for inner in value]
        return scalar(value)

    try:
        text = compact(converted(filters, 1))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"not JSON: {error}") from None
    if len(text) > MAX_FILTERS:
        raise _too_large()
    return text


def are_equal(one: str, other: str) -> bool:
    """Return whether two texts are the same object; the order of keys has no meaning."""
    try:
        return one == other or _sorted(one) == _sorted(other)
    except InvalidInput:  # another program can write any text to the topic
        return False


def _parsed(text: str) -> Any:
    try:
        return json.loads(
            text, parse_int=JsonText, parse_float=JsonText, parse_constant=_refuse, object_pairs_hook=_object
        )
    except RecursionError:
        raise InvalidInput(f"nested too deeply; at most {MAX_DEPTH} levels are allowed") from None
    except ValueError as error:
        raise InvalidInput(f"not JSON: {error}") from None


def _sorted(text: str) -> bytes:
    return orjson.dumps(_parsed(text), default=embedded, option=orjson.OPT_SORT_KEYS)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _too_large() -> InvalidInput:
    return InvalidInput(f"too large; at most {MAX_FILTERS} characters are allowed")

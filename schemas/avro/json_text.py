"""JSON text inside of a record. It is embedded into a body unchanged, so that no number loses a digit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NoReturn

import orjson

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)").fullmatch
_WHITESPACE: Final = " \t\r\n"
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


class JsonText:
    """A JSON value as text. Not a dataclass, because orjson writes those as objects of their fields."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonText) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"JsonText({self.text!r})"

    def value(self) -> Any:
        """Return the parsed value, with numbers as Python's json reads them."""
        return json.loads(self.text)


class ExactFloat(float):
    """A number with its text in JSON: `1.10` stays `1.10`, and `1e400` is kept although no float can hold it."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def of(cls, text: str) -> ExactFloat:
        """Return the number for a text; for `json.loads(…, parse_float=ExactFloat.of)`."""
        number = cls(text)
        number.text = text
        return number


def embedded(value: object) -> Any:
    """Return the JSON of a type that orjson does not know; for `orjson.dumps(…, default=embedded)`."""
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def plain(value: Any) -> Any:
    """Return a value with every JsonText parsed, for display."""
    if isinstance(value, JsonText):
        return value.value()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def any_text(text: str) -> JsonText:
    """Return the text of any JSON value; ValueError if it is not JSON."""
    _parsed(text)
    return JsonText(text)


def object_text(text: str) -> JsonText:
    """Return the text of a JSON object, without surrounding whitespace; ValueError if it is not a JSON object."""
    if not text.startswith("{") or not text.endswith("}"):
        text = text.strip(_WHITESPACE)
    if not text.startswith("{"):
        raise ValueError("it is not the text of a JSON object")
    _parsed(text)
    return JsonText(text)


def integer_text(text: str) -> JsonText:
    """Return an integer of any size; ValueError if the text is not an integer."""
    if not _INTEGER(text):
        raise ValueError(f"{text[:40]!r} is not an integer")
    return JsonText(text)


def decimal_text(text: str) -> JsonText:
    """Return a number of any size and precision; ValueError if the text is not a JSON number."""
    if not _NUMBER(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return JsonText(text)


def compact(value: Any) -> str:
    """Return a value as compact JSON; TypeError or ValueError if it has no JSON form."""
    try:
        text = orjson.dumps(value, default=_exact, option=_OPTIONS).decode()
    except TypeError:  # for example an integer of more than 64 bits, for which orjson does not call `default`
        text = orjson.dumps(_as_text(value), default=_exact, option=_OPTIONS).decode()
    if "null" in text:  # orjson writes NaN and infinity as null
        _check_numbers(value)
    return text


def _parsed(text: str) -> None:
    try:
        orjson.loads(text)
    except ValueError:
        _check_slowly(text)


def _check_slowly(text: str) -> None:
    """Accept the numbers beyond a double that JSON allows and orjson rejects; ValueError for everything else."""
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is not text
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _exact(value: object) -> Any:
    """Return the value that orjson writes for a type that it does not know, including subclasses of known types."""
    match value:
        case JsonText() | ExactFloat():
            written: Any = orjson.Fragment(value.text)
        case Decimal() if value.is_finite():
            written = orjson.Fragment(str(value))
        case int():
            written = orjson.Fragment(str(int(value)))
        case float() if math.isfinite(value):
            written = float(value)
        case str():
            written = str(value)
        case Mapping():
            written = dict(value)
        case list() | tuple():
            written = list(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")
    return written


def _check_numbers(value: Any) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _check_numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_numbers(inner)
    elif isinstance(value, float) and not isinstance(value, ExactFloat) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number in JSON")


def _as_text(value: Any) -> Any:
    """Return a copy that replaces each integer by its text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return JsonText(str(int(value)))
    if isinstance(value, Mapping):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(inner) for inner in value]
    return value

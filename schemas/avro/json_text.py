"""JSON that is text within a record: embedded into a body as it stands, so that no number loses a digit."""

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
    """A JSON value as text. No dataclass: orjson would write one as an object of its fields."""

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
        """Return what the text says, its numbers as Python's json reads them."""
        return json.loads(self.text)


class ExactFloat(float):
    """A number as it was written in JSON: `1.10` stays `1.10`, and `1e400` is more than a float can hold."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def of(cls, text: str) -> ExactFloat:
        """Return the number of a text; for `json.loads(…, parse_float=ExactFloat.of)`."""
        number = cls(text)
        number.text = text
        return number


def embedded(value: object) -> Any:
    """Return what stands for a value that orjson does not know: `orjson.dumps(…, default=embedded)`."""
    if isinstance(value, JsonText):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def plain(value: Any) -> Any:
    """Return a value without JsonText, to be shown."""
    if isinstance(value, JsonText):
        return value.value()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def any_text(text: str) -> JsonText:
    """Return JSON text of any kind; ValueError if it is none."""
    _parsed(text)
    return JsonText(text)


def object_text(text: str) -> JsonText:
    """Return the JSON text of an object, without space around it; ValueError if it is none."""
    if not text.startswith("{") or not text.endswith("}"):
        text = text.strip(_WHITESPACE)
    if not text.startswith("{"):
        raise ValueError("it is not the text of a JSON object")
    _parsed(text)
    return JsonText(text)


def integer_text(text: str) -> JsonText:
    """Return the digits of an integer of any size; ValueError if they are none."""
    if not _INTEGER(text):
        raise ValueError(f"{text[:40]!r} is not an integer")
    return JsonText(text)


def decimal_text(text: str) -> JsonText:
    """Return a number of any size and precision as JSON writes it; ValueError if it is none."""
    if not _NUMBER(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return JsonText(text)


def compact(value: Any) -> str:
    """Return a value as compact JSON; TypeError or ValueError where it has no form in JSON."""
    try:
        text = orjson.dumps(value, default=_exact, option=_OPTIONS).decode()
    except TypeError:  # an integer of more than 64 bits among others: orjson asks nobody about those
        text = orjson.dumps(_as_text(value), default=_exact, option=_OPTIONS).decode()
    if "null" in text:  # which is how orjson writes NaN and infinity
        _check_numbers(value)
    return text


def _parsed(text: str) -> None:
    try:
        orjson.loads(text)
    except ValueError:
        _check_slowly(text)


def _check_slowly(text: str) -> None:
    """Take what orjson refuses and JSON allows: numbers beyond a double. ValueError for everything else."""
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _exact(value: object) -> Any:
    """Return what orjson is to write for a value that is none of its own types, their subclasses among them."""
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
            raise TypeError(f"{type(value).__name__} has no form in JSON")
    return written


def _check_numbers(value: Any) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _check_numbers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_numbers(inner)
    elif isinstance(value, float) and not isinstance(value, ExactFloat) and not math.isfinite(value):
        raise ValueError(f"{value} is no number in JSON")


def _as_text(value: Any) -> Any:
    """Return a copy in which orjson understands every integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return JsonText(str(int(value)))
    if isinstance(value, Mapping):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(inner) for inner in value]
    return value

"""Writers of compact and readable JSON. They keep all digits and accept any depth. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from schemas.avro.json_text import ExactFloat, JsonText
from schemas.avro.json_tokens import half_surrogate_problem, minified

_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_INDENT: Final = "  "
# A value that contains itself has no end.
_MOST_LEVELS: Final = 100_000
_MAX_PATH: Final = 120
_END: Final = object()


class NoJsonForm(ValueError):
    """A value has no JSON form. `path` leads from the written value to it (`.a[0]`), `why` is a sentence about it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path.removeprefix('.')}: {why}" if path else why)
        self.path = path
        self.why = why


def compact(value: Any) -> str:
    """Return a value as compact JSON; NoJsonForm if it has no JSON form."""
    try:
        text = orjson.dumps(value, default=_exact, option=_OPTIONS).decode()
    except TypeError:  # an integer of more than 64 bits, more than 254 levels, or no JSON form
        return _Writer(value).text()
    # orjson writes NaN and infinity as null.
    return _Writer(value).text() if "null" in text and _has_nonfinite(value) else text


def readable(value: Any, *, indent: bool = False) -> str:
    """Return any value as JSON for people and tools. Every digit is as it was given.

    JsonText has one line and no spaces between its values. What has no JSON form is written as near to it as possible.
    """
    try:
        options = _OPTIONS | (orjson.OPT_INDENT_2 if indent else 0)
        text = orjson.dumps(value, default=_shown, option=options).decode()
    except TypeError:
        text = "null"
    if "null" in text and (text == "null" or _has_nonfinite(value)):
        return _Writer(value, is_lenient=True, indent=_INDENT if indent else "").text()
    return text


def _exact(value: object) -> Any:
    """Return the value that orjson writes for a type that it does not know, including subclasses of known types."""
    match value:
        case JsonText() | ExactFloat():
            written: Any = orjson.Fragment(value.text)
        case Decimal() if value.is_finite():
            written = orjson.Fragment(str(value))
        case int():
            written = orjson.Fragment(_digits(int(value)))
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


def _shown(value: object) -> Any:
    """Do the same for people: JSON text is minified, and text replaces what has no JSON form."""
    if isinstance(value, JsonText):
        return orjson.Fragment(minified(value.text))
    try:
        return _exact(value)
    except TypeError:
        return str(value)


def _has_nonfinite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_nonfinite, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_nonfinite, value))
    return isinstance(value, float) and not isinstance(value, ExactFloat) and not math.isfinite(value)


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # more digits than Python writes; Decimal writes any number of them
        return f"{Decimal(number):f}"


class _Level:
    """An array or an object whose end is not written yet; `key` is that of the value that is written now."""

    __slots__ = ("closing", "is_first", "items", "key")

    def __init__(self, items: Iterator[tuple[Any, Any]], closing: str) -> None:
        self.items = items
        self.closing = closing
        self.is_first = True
        self.key: Any = None


class _Writer:
    """Writes one value. It keeps open containers in a list, where a recursive writer uses the call stack."""

    def __init__(self, value: Any, *, is_lenient: bool = False, indent: str = "") -> None:
        self._value = value
        self._is_lenient = is_lenient
        self._indent = indent
        self._levels: list[_Level] = []
        self._out: list[str] = []

    def text(self) -> str:
        value = self._value
        while value is not _END:
            if not isinstance(value, Mapping | list | tuple):
                self._out.append(self._scalar(value))
            elif not value:
                self._out.append("{}" if isinstance(value, Mapping) else "[]")
            else:
                self._open(value)
            value = self._next()
        return "".join(self._out)

    def _open(self, value: Mapping[Any, Any] | Sequence[Any]) -> None:
        if len(self._levels) >= _MOST_LEVELS:
            raise NoJsonForm(self._path(), f"it contains itself, or has more than {_MOST_LEVELS:,} levels")
        if isinstance(value, Mapping):
            self._levels.append(_Level(iter(value.items()), "}"))
            self._out.append("{")
        else:
            self._levels.append(_Level(enumerate(value), "]"))
            self._out.append("[")

    def _next(self) -> Any:
        """Write what stands before the next value, and return that value; _END after the last one."""
        while self._levels:
            level = self._levels[-1]
            level.key, value = next(level.items, (None, _END))
            if value is _END:
                self._levels.pop()
                self._new_line()
                self._out.append(level.closing)
                continue
            if not level.is_first:
                self._out.append(",")
            level.is_first = False
            self._new_line()
            if level.closing == "}":
                self._out.append(self._key(level.key) + (": " if self._indent else ":"))
            return value
        return _END

    def _new_line(self) -> None:
        if self._indent:
            self._out.append("\n" + self._indent * len(self._levels))

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return self._string(key)
        if self._is_lenient:
            return self._string(str(key))
        raise NoJsonForm(self._path(), f"expected keys that are strings, found {key!r:.60}")

    def _scalar(self, value: Any) -> str:
        match value:
            case str():
                text = self._string(value)
            case JsonText():
                text = minified(value.text) if self._is_lenient else value.text
            case ExactFloat():
                text = value.text
            case None | bool():
                text = "null" if value is None else str(value).lower()
            case int():
                text = _digits(int(value))
            case float() | Decimal() if self._is_lenient or math.isfinite(value):
                text = str(value) if isinstance(value, Decimal) else json.dumps(float(value))
            case _ if self._is_lenient:
                text = self._string(str(value))
            case float() | Decimal():
                raise NoJsonForm(self._path(), f"{json.dumps(float(value))} is not a number in JSON")
            case _:
                raise NoJsonForm(self._path(), f"{type(value).__name__} has no JSON form")
        return text

    def _string(self, text: str) -> str:
        problem = half_surrogate_problem(text)
        if problem is None:
            return json.dumps(text, ensure_ascii=False)
        if self._is_lenient:
            return json.dumps(text)
        raise NoJsonForm(self._path(), problem)

    def _path(self) -> str:
        """Return the path of the value that is written now, such as `.a[0]`; the middle of a long one is left out."""
        path = "".join(
            f"[{level.key}]" if level.closing == "]" else f".{json.dumps(str(level.key))[1:-1]}"
            for level in self._levels
        )
        return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH // 2]}…{path[-_MAX_PATH // 2 :]}"

"""Parser of JSON that keeps all digits and accepts any depth. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from schemas.avro.json_text import ExactFloat, JsonText

MakeObject: TypeAlias = Callable[[list[tuple[str, Any]]], Any]

# int() rejects more than 4,300 digits by default. Longer integers stay text.
_MOST_DIGITS: Final = 4_000
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def parse(text: str, make_object: MakeObject = dict) -> Any:
    """Return the value of a JSON text; ValueError (JSONDecodeError) if it is not JSON.

    Numbers with a fraction or an exponent are ExactFloat. Integers of thousands of digits are JsonText. `make_object`
    makes an object of its keys and values, and may raise ValueError.
    """
    try:
        return json.loads(text, object_pairs_hook=make_object, parse_float=ExactFloat.of, parse_int=integer)
    except RecursionError:  # json recurses for each level
        return _DeepParser(text, make_object).parse()


def integer(text: str) -> int | JsonText:
    """Return an integer as `parse` does, for `parse_int` of Python's json."""
    return int(text) if len(text) < _MOST_DIGITS else JsonText(text)


_SCALARS: Final = json.JSONDecoder(parse_float=ExactFloat.of, parse_int=integer)


class _Container:
    """An array or an object whose end is not read yet; `key` is the key of an object's next value."""

    __slots__ = ("closing", "items", "key", "make")

    def __init__(self, make: MakeObject | None) -> None:
        self.make = make
        self.closing = "]" if make is None else "}"
        self.items: list[Any] = []
        self.key = ""

    def add(self, value: Any) -> None:
        self.items.append(value if self.make is None else (self.key, value))

    def value(self) -> Any:
        return self.items if self.make is None else self.make(self.items)


class _DeepParser:
    """Parses like json.loads. It keeps open containers in a list, where json uses the call stack."""

    def __init__(self, text: str, make_object: MakeObject) -> None:
        self._text = text
        self._make_object = make_object
        self._at = 0
        self._open: list[_Container] = []

    def parse(self) -> Any:
        self._skip_space()
        while True:
            opened = self._character()
            if opened in ("[", "{"):
                container = _Container(self._make_object if opened == "{" else None)
                self._at += 1
                self._skip_space()
                if self._character() != container.closing:
                    self._open.append(container)
                    self._read_key(container)
                    continue
                self._at += 1
                value = container.value()
            else:
                value = self._scalar()
            if self._ends(value):
                return self._result

    def _ends(self, value: Any) -> bool:
        """Add a value to its container, and end the containers that end here; return True at the end of the text."""
        while True:
            self._skip_space()
            if not self._open:
                if self._at < len(self._text):
                    raise self._error("Extra data")
                self._result = value
                return True
            container = self._open[-1]
            container.add(value)
            follows = self._character()
            if follows == ",":
                self._at += 1
                self._skip_space()
                self._read_key(container)
                return False
            if follows != container.closing:
                raise self._error("Expecting ',' delimiter")
            self._at += 1
            value = self._open.pop().value()

    def _read_key(self, container: _Container) -> None:
        if container.make is None:
            return
        if self._character() != '"':
            raise self._error("Expecting property name enclosed in double quotes")
        container.key = self._scalar()
        self._skip_space()
        if self._character() != ":":
            raise self._error("Expecting ':' delimiter")
        self._at += 1
        self._skip_space()

    def _scalar(self) -> Any:
        value, self._at = _SCALARS.raw_decode(self._text, self._at)
        return value

    def _character(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _error(self, message: str) -> ValueError:
        return json.JSONDecodeError(message, self._text, self._at)

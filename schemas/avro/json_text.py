"""JSON text inside of a record. It is embedded into a body unchanged, so that no number loses a digit."""

from __future__ import annotations

from typing import Any, Final

import orjson


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

"""Changes to JSON text that keep its digits, and facts about it. Text may have any depth: nothing recurses. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

# A JSON string; an unterminated one matches up to the end of the text.
_STRING: Final = r'"(?:[^"\\]++|\\.)*+"?'
_STRING_OR_SPACE: Final = re.compile(rf"{_STRING}|[ \t\r\n]+", re.DOTALL)
_STRING_OR_BRACKET: Final = re.compile(rf"{_STRING}|[\[\]{{}}]", re.DOTALL)
# A number between other tokens: parts of `01` or `1.5.3` are not numbers.
_STRING_OR_NUMBER: Final = re.compile(
    rf"{_STRING}|(?<![0-9.eE+-])-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?(?![0-9.eE+-])", re.DOTALL
)
_HALF_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def minified(text: str) -> str:
    """Return JSON text on one line without spaces between its values, and with no needless escapes in its strings.

    Numbers, the order of keys and repeated keys stay as they are.
    """
    return _STRING_OR_SPACE.sub(_minified_token, text)


def with_small_numbers(text: str) -> str:
    """Return JSON text with 0 instead of each number: orjson rejects some numbers that JSON allows."""
    return _STRING_OR_NUMBER.sub(lambda found: found[0] if found[0][0] == '"' else "0", text)


def levels_of(text: str) -> int:
    """Return how many levels of arrays and objects a JSON text has."""
    most = levels = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[0] in {"[", "{"}:
            levels += 1
            most = max(most, levels)
        elif found[0] in {"]", "}"}:
            levels -= 1
    return most


def half_surrogate_problem(text: str) -> str | None:
    """Return a sentence if a text contains half of a surrogate pair, which JSON can escape and UTF-8 cannot encode."""
    found = _HALF_SURROGATE.search(text)
    if found is None:
        return None
    return f"it contains half of a surrogate pair (\\u{ord(found[0]):04x}): write both halves, or leave it out"


def _minified_token(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] != '"':
        return ""
    if "\\" not in token:
        return token
    try:
        return json.dumps(json.loads(token), ensure_ascii=False)
    except ValueError:  # it is not JSON
        return token

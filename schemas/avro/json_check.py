"""Checks of JSON text that becomes part of a body. Pure."""

from __future__ import annotations

import re
from typing import Final

import orjson

from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.avro.json_tokens import levels_of, with_small_numbers
from schemas.avro.json_writer import NoJsonForm, compact

# The most levels of arrays and objects that the router reads in one JSON text: the limit of orjson.
MAX_LEVELS: Final = 1_024

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)").fullmatch
_WHITESPACE: Final = " \t\r\n"


def any_text(text: str) -> JsonText:
    """Return the text of any JSON value; ValueError if it is not JSON, or has more than MAX_LEVELS levels."""
    _check(text)
    return JsonText(text)


def object_text(text: str) -> JsonText:
    """Return the text of a JSON object, without surrounding whitespace; ValueError as for `any_text`."""
    if not text.startswith("{") or not text.endswith("}"):
        text = text.strip(_WHITESPACE)
    if not text.startswith("{"):
        raise ValueError("it is not the text of a JSON object")
    _check(text)
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


def _check(text: str) -> None:
    try:
        orjson.loads(text)
    except ValueError as error:
        _check_slowly(text, error)


def _check_slowly(text: str, error: ValueError) -> None:
    """Accept the numbers beyond a double that JSON allows and orjson rejects; ValueError for everything else."""
    levels = levels_of(text)
    if levels > MAX_LEVELS:
        raise ValueError(
            f"it has {levels:,} levels of arrays and objects, and at most {MAX_LEVELS:,} are allowed; "
            "publish the inner levels as text"
        ) from error
    try:
        orjson.loads(with_small_numbers(text))
    except ValueError:
        try:
            compact(parse(text))
        except NoJsonForm:  # half of a surrogate pair, NaN
            raise
        except ValueError as reason:
            raise ValueError(f"it is not JSON: {reason}") from error
        raise ValueError(f"it is not JSON: {error}") from error

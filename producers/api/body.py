"""The body of a request: bytes to the fields of a JSON object. Any bytes end in fields or in a `Refusal`.

Content-Type is not checked: the documents name none for requests, and a body has one form only. A repeated key is
refused, because its sender and its reader may each mean another one. Numbers stay text, so that `filters` keeps every
digit, and no number is too large.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, NoReturn, TypeAlias

from producers.api.refusals import interrupted, invalid_body, too_large, too_slow
from schemas.avro.json_text import JsonText
from schemas.avro.json_tokens import half_surrogate_problem, levels_of

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_BODY: Final = 256 * 1024
MAX_LEVELS: Final = 32


async def read_body(receive: Receive, declared: int | None, timeout_s: float) -> bytes:
    """Return the bytes of a body; Refusal if they are too many or arrive too slowly.

    `declared`: the Content-Length; None for a chunked body. No more than MAX_BODY bytes and one chunk are in memory.
    """
    if declared is not None and declared > MAX_BODY:
        raise too_large(MAX_BODY)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise interrupted()
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise too_large(MAX_BODY)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise too_slow(timeout_s) from None


def parse_fields(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a JSON object: each number is JsonText. Refusal names the first error."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid_body(f"not UTF-8: byte {error.start} is invalid") from None
    # Before parsing: the parser recurses for each level.
    if levels_of(text) > MAX_LEVELS:
        raise invalid_body(f"nested too deeply; at most {MAX_LEVELS} levels are allowed")
    try:
        value = json.loads(
            text, parse_int=JsonText, parse_float=JsonText, parse_constant=_refuse, object_pairs_hook=_object
        )
    except json.JSONDecodeError as error:
        raise invalid_body(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise invalid_body(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid_body("expected a JSON object")
    # Only an escape can produce half of a surrogate pair, since the text itself is UTF-8.
    if "\\u" in text:
        _refuse_half_surrogates(value)
    return value


def _refuse_half_surrogates(value: Any) -> None:
    if isinstance(value, str):
        if (problem := half_surrogate_problem(value)) is not None:
            raise invalid_body(problem)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_half_surrogates(key)
            _refuse_half_surrogates(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_half_surrogates(inner)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")

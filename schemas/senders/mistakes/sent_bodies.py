"""Whether Signpost can have sent a body, and what about a body makes a change likely. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from schemas.senders.mistakes.json_forms import depth_of_whitespace
from schemas.senders.sender import Sender
from schemas.senders.traits import writes_all_json

_REPLACED = "\ufffd"
# Texts that programs write in place of a body.
_LOST = ("[object Object]", "undefined", "null", "None", "<nil>")


def why_not_sent(sender: Sender, body: bytes, length: str | None) -> str | None:
    """Return why Signpost cannot have sent a body; None if it can. `length`: the value of Content-Length."""
    if not body:
        return "it is empty; a program may have read it before"
    if length is not None and (announced := _digits(length)) is not None and announced != str(len(body)):
        return f"Content-Length is {announced[:20]}, but it has {len(body)} bytes"
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte {error.start})"
    return _why_not_json(text) or _why_not_compact(sender, text)


def doubts(sender: Sender, body: bytes, *, has_length: bool) -> Iterator[str]:
    """Yield what makes a change of the body possible, though Signpost can have sent it.

    `has_length`: the request has a Content-Length, which why_not_sent() has compared. A program that changes spaces
    changes the length as well.
    """
    text = body.decode("utf-8", "replace")
    if depth_of_whitespace(text) is not None and not has_length:
        yield (
            "the body has spaces or line breaks between its values: its publisher may have written them, or a program "
            "may have re-serialized it"
        )
    if _REPLACED in text:
        yield "the body has the character U+FFFD, which programs write in place of bytes that they cannot read"
    keys = tuple(sender.envelope_keys)
    try:
        value = json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return
    if keys and not (isinstance(value, dict) and tuple(value) == keys):
        yield f"the bodies of {sender.name} are objects with the keys {', '.join(keys)}, in this order; this one is not"


def _why_not_json(text: str) -> str | None:
    if text.strip() in _LOST:
        return f"it is the text {text.strip()}, which a program wrote in place of it"
    try:
        json.loads(text, parse_int=str)  # integers of any size
    except RecursionError:
        return None
    except ValueError as error:
        where = f" (character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        return f"it is not JSON{where}"
    return None


def _why_not_compact(sender: Sender, text: str) -> str | None:
    depth = depth_of_whitespace(text)
    if depth is None:
        return None
    if depth == 0:
        return "spaces or line breaks stand before or after it"
    if writes_all_json(sender):
        return f"it has spaces or line breaks between its values, and Signpost sends those of {sender.name} without"
    # Data that a publisher gives as JSON text stay as they are.
    if sender.envelope_keys and depth == 1:
        return "it has spaces or line breaks outside of the published data, and Signpost sends it without"
    return None


def _digits(text: str) -> str | None:
    """Return a number without leading zeros as text, because int() rejects thousands of digits."""
    bare = text.strip()
    return (bare.lstrip("0") or "0") if bare.isascii() and bare.isdigit() else None

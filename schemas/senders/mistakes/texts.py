"""The text that is signed before the body: id and time of Standard Webhooks, from headers in any spelling and unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias
from urllib.parse import unquote

from schemas.senders.mistakes.mistake import Form, Mistake, Part
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import StandardWebhooks, is_unix_seconds

_ID: Final = "webhook-id"
_TIME: Final = "webhook-timestamp"
_UNITS: Final = ((13, 1_000, "milliseconds"), (16, 1_000_000, "microseconds"), (19, 1_000_000_000, "nanoseconds"))
_DECIMAL: Final = re.compile(r"([0-9]{1,12})\.[0-9]{1,9}")
_ID_KEYS: Final = ("event_id", "id")
_MOST_HEADERS: Final = 100
_MOST_LENGTH: Final = 300

_Found: TypeAlias = list[Form[str]]


def text_forms(
    signature: HmacSha256Hex | StandardWebhooks, headers: Mapping[str, str], body: bytes
) -> Iterator[Form[bytes]]:
    """Yield what may stand before the body in the signed text. `headers` have the spelling of the request."""
    ids, times = _ids(headers, body), _times(headers)
    both = [
        Form(f"{id_.value}.{time.value}.", (*id_.mistakes, *time.mistakes))
        for id_ in ids
        for time in times
        if id_.cost + time.cost <= 2
    ]
    if isinstance(signature, HmacSha256Hex):
        yield Form(b"")
        how = "<id>.<timestamp>.<body>, as in Standard Webhooks, and not the body alone"
        yield from (_other(form, how) for form in both)
        yield from (
            _other(Form(f"{t.value}.", t.mistakes), "<timestamp>.<body>, and not the body alone") for t in times
        )
        return
    for form in sorted(both, key=lambda form: form.cost):
        yield Form(_bytes(form.value), form.mistakes)
    wrong = "and not <id>.<timestamp>.<body>"
    yield _other(Form(""), f"the body alone, {wrong}")
    for time in times:
        yield _other(Form(f"{time.value}.", time.mistakes), f"<timestamp>.<body>, {wrong}")
        yield _other(Form(f"v0:{time.value}:", time.mistakes), f"v0:<timestamp>:<body>, {wrong}")
    for id_ in ids:
        yield _other(Form(f"{id_.value}.", id_.mistakes), f"<id>.<body>, {wrong}")
        for time in times:
            if id_.cost + time.cost <= 1:
                swapped = Form(f"{time.value}.{id_.value}.", (*id_.mistakes, *time.mistakes))
                yield _other(swapped, f"<timestamp>.<id>.<body>, {wrong}")


def seconds_of(text: str) -> int | None:
    """Return the Unix seconds of a time in any usual form; None if it has another form."""
    found = next(iter(_seconds(text)), None)
    return None if found is None else int(found[1])


def _other(form: Form[str], how: str) -> Form[bytes]:
    return Form(_bytes(form.value), (*form.mistakes, Mistake("text", how)))


def _ids(headers: Mapping[str, str], body: bytes) -> _Found:
    found: _Found = []
    given = _of(headers, _ID)
    if given is not None:
        found.append(Form(given))
        for how, value in _cleaned(given):
            found.append(Form(value, (Mistake("header", f"{_ID} {how}"),)))
    for name, value in list(headers.items())[:_MOST_HEADERS]:
        if name.lower() != _ID and _is_id(name.lower()) and len(value) <= _MOST_LENGTH:
            found.append(Form(value, (_renamed(_ID, name, is_missing=given is None),)))
    for key, value in _ids_of(body):
        if given is None:
            mistake = Mistake("header", f"{_ID} is missing, and the {key} of the body was signed")
        else:
            mistake = Mistake("text", f"the {key} of the body in place of {_ID}")
        found.append(Form(value, (mistake,)))
    return _unique(found)


def _times(headers: Mapping[str, str]) -> _Found:
    found: _Found = []
    given = _of(headers, _TIME)
    if given is not None:
        found += _times_in(given, _TIME, ())
    for name, value in list(headers.items())[:_MOST_HEADERS]:
        lower = name.lower()
        if lower != _TIME and ("time" in lower or "date" in lower) and len(value) <= _MOST_LENGTH:
            found += _times_in(value, name, (_renamed(_TIME, name, is_missing=given is None),))
    return _unique(found)


def _of(headers: Mapping[str, str], name: str) -> str | None:
    return next((value for known, value in headers.items() if known.lower() == name), None)


def _times_in(given: str, name: str, before: tuple[Mistake, ...]) -> Iterator[Form[str]]:
    if is_unix_seconds(given):
        yield Form(given, before)
        yield Form(f"{given}000", (*before, Mistake("time", f"{name} is in seconds, and milliseconds were signed")))
        return
    readings = list(_seconds(given))
    how = readings[0][0] if readings else "is not a number of Unix seconds"
    yield Form(given, (*before, Mistake("time", f"{name} {how}")))
    for how, value in readings:
        yield Form(value, (*before, Mistake("time", f"{name} {how}, and the seconds were signed")))


def _seconds(given: str) -> Iterator[tuple[str, str]]:
    """Yield how a time differs from Unix seconds, and the seconds."""
    text = unquote(given).strip().strip("\"'[]")
    if is_unix_seconds(text):
        yield ("has other characters around the number", text) if text != given else ("is in Unix seconds", text)
    elif text.isascii() and text.isdigit():
        for digits, unit, name in _UNITS:
            if len(text) == digits:
                yield f"is in {name} instead of seconds", str(int(text) // unit)
    elif (decimal := _DECIMAL.fullmatch(text)) is not None:
        yield "has decimals", decimal[1]
    elif (at := _time_of(text)) is not None:
        yield "is a date instead of Unix seconds", str(int(at.timestamp()))


def _time_of(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return None


def _cleaned(given: str) -> Iterator[tuple[str, str]]:
    bare = given.strip().strip("\"'[]")
    if bare != given:
        yield "has other characters around the id", bare
    if (decoded := unquote(given)) != given:
        yield "is percent-encoded", decoded


def _is_id(name: str) -> bool:
    return name.replace("_", "-").endswith(("-id", "id"))


def _ids_of(body: bytes) -> Iterator[tuple[str, str]]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    for key in _ID_KEYS:
        if isinstance(value, dict) and isinstance(found := value.get(key), str) and len(found) <= _MOST_LENGTH:
            yield key, found


def _renamed(name: str, other: str, *, is_missing: bool) -> Mistake:
    part: Part = "header"
    return Mistake(
        part, f"{name} is missing, and {other} has its value" if is_missing else f"{other} was used as {name}"
    )


def _unique(found: _Found) -> _Found:
    best: dict[str, Form[str]] = {}
    for form in sorted(found, key=lambda form: form.cost):
        best.setdefault(form.value, form)
    return list(best.values())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

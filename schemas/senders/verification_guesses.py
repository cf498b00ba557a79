"""Common mistakes with secrets, bodies and signatures: a description of each, and the value to try. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

from schemas.avro.json_parser import parse

_PREFIXES: Final = ("whsec_", "whsk_", "whpk_")
# A JSON string, or whitespace between other tokens. An unterminated string matches up to the end of the text; searching
# for its end from each quote would take quadratic time.
_STRING_OR_SPACE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|\s+', re.DOTALL)
_HEX_OF_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_SHA256_BYTES: Final = 32


def secrets(secret: str) -> Iterator[tuple[str, str]]:
    """Yield other forms of the given secret, each with the mistake in the given form."""
    stripped = secret.strip()
    if stripped != secret:
        yield "it begins or ends with a space or a line break", stripped
    for quote in "\"'`":
        if len(stripped) > 2 and stripped[0] == quote == stripped[-1]:
            yield "it is in quotes", stripped[1:-1]
    yield "the line break at the end belongs to the secret and is missing", f"{secret}\n"
    if (decoded := unquote(stripped)) != stripped:
        yield "it is percent-encoded", decoded
    prefix = next((prefix for prefix in _PREFIXES if stripped.startswith(prefix)), "")
    bare = stripped.removeprefix(prefix)
    if prefix:
        yield f"the prefix {prefix} does not belong to this secret", bare
    else:
        for wanted in _PREFIXES:
            yield f"the prefix {wanted} is missing", wanted + bare
    for how, key in _decodings(bare):
        for wanted in _PREFIXES[:2]:
            yield f"it is the {how} of the key; expected {wanted} and base64", wanted + base64.b64encode(key).decode()
        yield f"it is the {how} of the secret", key.decode("utf-8", "replace")
    if prefix:
        return
    encoded = base64.b64encode(stripped.encode("utf-8", "surrogateescape")).decode()
    yield f"it is the key itself; expected {_PREFIXES[0]} and the base64 of the key", _PREFIXES[0] + encoded
    yield "it was decoded from base64; use it without decoding", encoded


def keys(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield keys that a program may derive from a secret by mistake."""
    stripped = secret.strip()
    prefix = next((prefix for prefix in _PREFIXES if stripped.startswith(prefix)), "")
    bare = stripped.removeprefix(prefix)
    if prefix:
        yield f"as text, with {prefix}, base64 not decoded", stripped.encode("utf-8", "surrogateescape")
        yield f"as text without {prefix}, base64 not decoded", bare.encode("utf-8", "surrogateescape")
    else:
        yield "as text", stripped.encode("utf-8", "surrogateescape")
    yield "as text with a line break at the end", f"{stripped}\n".encode("utf-8", "surrogateescape")
    for how, key in _decodings(bare):
        yield f"decoded from {how}", key
        yield f"decoded from {how} and encoded in hex", key.hex().encode()


def bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield possible original bodies, each with the change that was made to it."""
    for end in (b"\n", b"\r\n"):
        if body.endswith(end):
            yield "a line break was added at the end", body[: -len(end)]
    yield "the line break at the end was removed", body + b"\n"
    if body.startswith(b"\xef\xbb\xbf"):
        yield "a byte order mark was added at the start", body[3:]
    if b"\r\n" in body:
        yield "its line breaks were changed to CR LF", body.replace(b"\r\n", b"\n")
    elif b"\n" in body:
        yield "its line breaks were changed from CR LF to LF", body.replace(b"\n", b"\r\n")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        with suppress(UnicodeDecodeError):
            yield "it was converted from UTF-8 to another encoding", body.decode("cp1252").encode()
        return
    with suppress(UnicodeEncodeError):
        yield "UTF-8 was read as Latin-1 and written as UTF-8", text.encode("latin-1")
    yield from _rewritten(text)


def notations(given: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield headers with the signature in other notations, each with its mistake; `names`: the signature headers."""
    for name in (name.lower() for name in names):
        value = given.get(name, "")
        for how, other in _values(value):
            yield f"{name} {how}", {**given, name: other}


def why_not_as_sent(given: Mapping[str, str], body: bytes) -> str | None:
    """Return why Signpost cannot have sent a body: its length or its form; None if Signpost can have sent it."""
    length = given.get("content-length", "").strip()
    # Compared as text, because int() rejects thousands of digits.
    if length.isascii() and length.isdigit() and (length.lstrip("0") or "0") != str(len(body)):
        return f"Content-Length is {length[:20]}, but it has {len(body)} bytes"
    try:
        text = body.decode()
        parse(text)
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte {error.start})"
    except ValueError as error:
        where = f" (character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        return f"it is not JSON{where}" if body else "it is empty"
    if _compact(text) != text:
        return "it has spaces or line breaks between its values, and Signpost sends compact JSON"
    return None


def _values(value: str) -> Iterator[tuple[str, str]]:
    if value != value.strip():
        yield "begins or ends with a space", value.strip()
    prefix, equals, digest = value.strip().rpartition("=")
    if _HEX_OF_SHA256.fullmatch(digest) and digest != digest.lower():
        yield "has capital letters", f"{prefix}{equals}{digest.lower()}"
    if _HEX_OF_SHA256.fullmatch(value.strip()):
        yield "lacks the prefix sha256=", f"sha256={value.strip().lower()}"
    elif _HEX_OF_SHA256.fullmatch(digest):
        yield "has a prefix that does not belong to it", digest.lower()
    plain = value.strip().removeprefix("sha256=").removeprefix("v1,")
    try:
        decoded = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) == _SHA256_BYTES:
        yield "is in base64 instead of hex", f"sha256={decoded.hex()}"
        yield "is in base64 instead of hex", decoded.hex()
        yield "lacks the version v1,", f"v1,{plain}"
    if _HEX_OF_SHA256.fullmatch(plain):
        yield "is in hex instead of base64", f"v1,{base64.b64encode(bytes.fromhex(plain)).decode()}"
    if "," in value:
        yield "has commas or semicolons between signatures instead of spaces", re.sub(r"[,;]\s*(?=v1a?,)", " ", value)


def _decodings(text: str) -> Iterator[tuple[str, bytes]]:
    if len(text) > 1 and len(text) % 2 == 0 and re.fullmatch(r"[0-9A-Fa-f]+", text):
        yield "hex", bytes.fromhex(text)
    padded = text + "=" * (-len(text) % 4)
    for how, alphabet in (("base64", b"+/"), ("URL-safe base64", b"-_")):
        try:
            decoded = base64.b64decode(padded, altchars=alphabet, validate=True)
        except (binascii.Error, ValueError):
            continue
        if decoded:
            yield how, decoded


def _rewritten(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield other serializations of the same JSON; the first one differs only in whitespace."""
    compact = _compact(text)
    if compact != text:
        how = "it was re-serialized with spaces or line breaks (pretty-printed)"
        yield how, compact.encode("utf-8", "surrogateescape")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for how, options in (
        ("it was re-serialized with other escapes", {"ensure_ascii": False, "separators": (",", ":")}),
        ("it was re-serialized without escapes", {"ensure_ascii": True, "separators": (",", ":")}),
        ("it was re-serialized without spaces", {"ensure_ascii": True}),
        ("it was re-serialized without spaces", {"ensure_ascii": False}),
        ("it was re-serialized without line breaks", {"ensure_ascii": False, "indent": 2}),
        ("it was re-serialized with its keys in another order", {"sort_keys": True, "separators": (",", ":")}),
    ):
        try:
            yield how, json.dumps(value, **options).encode("utf-8", "surrogateescape")
        except (ValueError, RecursionError, TypeError):
            continue


def _compact(text: str) -> str:
    """Return JSON without whitespace between its values; numbers, escapes and the order of keys stay unchanged."""
    return _STRING_OR_SPACE.sub(lambda found: found[0] if found[0][0] == '"' else "", text)

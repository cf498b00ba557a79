"""What may have gone wrong with a secret, a body or a signature: each mistake in words, and what to try. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

_PREFIXES: Final = ("whsec_", "whsk_", "whpk_")
# A string of JSON, or space between its other signs. A string without an end is the rest of the text: to look for the
# end of it from each of its quotes would take hours.
_STRING_OR_SPACE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|\s+', re.DOTALL)
_HEX_OF_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_SHA256_BYTES: Final = 32


def secrets(secret: str) -> Iterator[tuple[str, str]]:
    """Return other forms of a secret that was given, each with what is wrong with the given one."""
    stripped = secret.strip()
    if stripped != secret:
        yield "it has a space or the end of a line around it", stripped
    for quote in "\"'`":
        if len(stripped) > 2 and stripped[0] == quote == stripped[-1]:
            yield "it has quotes around it", stripped[1:-1]
    yield "the line's end belongs to the secret, and is missing", f"{secret}\n"
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
            yield f"it is {how} of the key; expected {wanted} and base64", wanted + base64.b64encode(key).decode()
        yield f"it is {how} of the secret", key.decode("utf-8", "replace")
    if prefix:
        return
    encoded = base64.b64encode(stripped.encode("utf-8", "surrogateescape")).decode()
    yield f"it is the key itself; expected {_PREFIXES[0]} and its base64", _PREFIXES[0] + encoded
    yield "it was decoded from base64, and has to stay as it was", encoded


def keys(secret: str) -> Iterator[tuple[str, bytes]]:
    """Return keys that somebody may take from a secret by mistake."""
    stripped = secret.strip()
    prefix = next((prefix for prefix in _PREFIXES if stripped.startswith(prefix)), "")
    bare = stripped.removeprefix(prefix)
    if prefix:
        yield f"as text, {prefix} and base64 not decoded", stripped.encode("utf-8", "surrogateescape")
        yield f"as text without {prefix}, base64 not decoded", bare.encode("utf-8", "surrogateescape")
    else:
        yield "as text", stripped.encode("utf-8", "surrogateescape")
    yield "as text with a line's end behind it", f"{stripped}\n".encode("utf-8", "surrogateescape")
    for how, key in _decodings(bare):
        yield f"decoded from {how}", key
        yield f"decoded from {how} and written in hex", key.hex().encode()


def bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Return what a body may have been, each with what was done to it since."""
    for how, end in (("a line's end was put behind it", b"\n"), ("a line's end was put behind it", b"\r\n")):
        if body.endswith(end):
            yield how, body[: -len(end)]
    yield "the line's end behind it was taken away", body + b"\n"
    if body.startswith(b"\xef\xbb\xbf"):
        yield "a byte order mark was put before it", body[3:]
    if b"\r\n" in body:
        yield "its line ends were changed to CR LF", body.replace(b"\r\n", b"\n")
    elif b"\n" in body:
        yield "its line ends were changed from CR LF", body.replace(b"\n", b"\r\n")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        with suppress(UnicodeDecodeError):
            yield "it was changed from UTF-8 to another encoding", body.decode("cp1252").encode()
        return
    with suppress(UnicodeEncodeError):
        yield "UTF-8 was read as Latin-1 and written as UTF-8", text.encode("latin-1")
    yield from _rewritten(text)


def notations(given: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Return headers with a signature in other notations, `names` being those of the signature, each with its fault."""
    for name in (name.lower() for name in names):
        value = given.get(name, "")
        for how, other in _values(value):
            yield f"{name} {how}", {**given, name: other}


def why_not_as_sent(given: Mapping[str, str], body: bytes) -> str | None:
    """Say why a body cannot be one that Signpost sent: its length, or its form; None if it can."""
    length = given.get("content-length", "").strip()
    # As text: a number of thousands of digits is more than int() takes.
    if length.isascii() and length.isdigit() and (length.lstrip("0") or "0") != str(len(body)):
        return f"Content-Length says {length[:20]} bytes, and it has {len(body)}"
    try:
        text = body.decode()
        json.loads(text, parse_int=str)  # of any size
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 (byte {error.start})"
    except RecursionError:
        return None
    except ValueError as error:
        where = f" (character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        return f"it is not JSON{where}" if body else "it is empty"
    if _compact(text) != text:
        return "it has spaces or line ends between its values, and Signpost sends JSON without any"
    return None


def _values(value: str) -> Iterator[tuple[str, str]]:
    if value != value.strip():
        yield "has a space around its value", value.strip()
    prefix, equals, digest = value.strip().rpartition("=")
    if _HEX_OF_SHA256.fullmatch(digest) and digest != digest.lower():
        yield "has capital letters", f"{prefix}{equals}{digest.lower()}"
    if _HEX_OF_SHA256.fullmatch(value.strip()):
        yield "lacks its prefix sha256=", f"sha256={value.strip().lower()}"
    elif _HEX_OF_SHA256.fullmatch(digest):
        yield "has a prefix that does not belong there", digest.lower()
    plain = value.strip().removeprefix("sha256=").removeprefix("v1,")
    try:
        decoded = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) == _SHA256_BYTES:
        yield "is in base64 in place of hex", f"sha256={decoded.hex()}"
        yield "is in base64 in place of hex", decoded.hex()
        yield "lacks its version v1,", f"v1,{plain}"
    if _HEX_OF_SHA256.fullmatch(plain):
        yield "is in hex in place of base64", f"v1,{base64.b64encode(bytes.fromhex(plain)).decode()}"
    if "," in value:
        yield "has commas or semicolons between signatures in place of spaces", re.sub(r"[,;]\s*(?=v1a?,)", " ", value)


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
    """Return a body in other ways to write the same JSON: the first of them changes nothing but spaces."""
    compact = _compact(text)
    if compact != text:
        yield (
            "it was written anew with spaces or line ends (pretty-printed)",
            compact.encode("utf-8", "surrogateescape"),
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for how, options in (
        ("it was written anew with other escapes", {"ensure_ascii": False, "separators": (",", ":")}),
        ("it was written anew with escapes taken away", {"ensure_ascii": True, "separators": (",", ":")}),
        ("it was written anew and its spaces were taken away", {"ensure_ascii": True}),
        ("it was written anew and its spaces were taken away", {"ensure_ascii": False}),
        ("it was written anew and its lines were put together", {"ensure_ascii": False, "indent": 2}),
        ("it was written anew and its keys were in another order", {"sort_keys": True, "separators": (",", ":")}),
    ):
        try:
            yield how, json.dumps(value, **options).encode("utf-8", "surrogateescape")
        except (ValueError, RecursionError, TypeError):
            continue


def _compact(text: str) -> str:
    """Return JSON without the space between its values; numbers, escapes and the order of keys stay as they are."""
    return _STRING_OR_SPACE.sub(lambda found: found[0] if found[0][0] == '"' else "", text)

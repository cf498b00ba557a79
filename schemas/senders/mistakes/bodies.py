"""What the body may have been if a program changed it before the verification."""

from __future__ import annotations

import ast
import base64
import binascii
import html
import json
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from schemas.senders.mistakes.json_forms import has_order_of, json_or_none, rendered, serialisations
from schemas.senders.mistakes.mistake import Form, forms
from schemas.senders.sender import Sender

_Changes: TypeAlias = Iterator[tuple[str, bytes]]

_BOM: Final = b"\xef\xbb\xbf"
_WHITE: Final = b" \t\r\n\0"
_BUFFER: Final = re.compile(rb"\s*<Buffer((?: [0-9a-f]{2})+)>\s*")
_FORM_FIELD: Final = re.compile(rb"[A-Za-z_.\[\]-]{1,40}=")
_GZIP: Final = (b"\x1f\x8b", b"\x78\x9c", b"\x78\x01", b"\x78\xda")
_MOST_BYTES: Final = 4 << 20
# Two changes of a larger body would take too long.
_MOST_BYTES_OF_TWO: Final = 16 << 10
_MOST_OF_PYTHON: Final = 1 << 20  # the compiler of Python needs much memory for more
_MOST_INNER: Final = 10


def body_forms(body: bytes, sender: Sender, length: int | None = None, *, most: int = 2) -> Iterator[Form[bytes]]:
    """Yield the given body and possible original ones. `length`: the Content-Length of the request."""
    if len(body) > _MOST_BYTES:
        yield Form(body)
        return

    def changes(content: bytes) -> _Changes:
        if length is not None and length < len(content):
            yield "other bytes follow it, after those that Content-Length announces", content[:length]
        yield from _edges(content)
        yield from _encodings(content)
        yield from _wrapped(content)
        yield from _json(content, sender)

    yield from forms(body, changes, "body", most=most if len(body) <= _MOST_BYTES_OF_TWO else 1, limit=600)


def _edges(body: bytes) -> _Changes:
    for end in (b"\r\n", b"\n", b"\r"):
        if body.endswith(end):
            yield "a line break was added at the end", body[: -len(end)]
    if (bare := body.rstrip(_WHITE)) != body:
        yield "spaces or line breaks were added at the end", bare
    if (bare := body.lstrip(_WHITE)) != body:
        yield "spaces or line breaks were added at the start", bare
    yield "the line break at the end was removed", body + b"\n"
    yield "the line break at the end was removed", body + b"\r\n"
    if body.startswith(_BOM):
        yield "a byte order mark was added at the start", body[3:]
    if b"\r\n" in body:
        yield "its line breaks were changed to CR LF", body.replace(b"\r\n", b"\n")
    elif b"\n" in body:
        yield "its line breaks were changed from CR LF to LF", body.replace(b"\n", b"\r\n")
    elif b"\r" in body:
        yield "its line breaks were changed to CR", body.replace(b"\r", b"\n")


def _encodings(body: bytes) -> _Changes:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:4]:
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            with suppress(UnicodeError):
                yield "it was converted from UTF-8 to UTF-16", body.decode(encoding).encode()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        for encoding in ("cp1252", "latin-1"):
            with suppress(UnicodeDecodeError):
                yield "it was converted from UTF-8 to another encoding", body.decode(encoding).encode()
        return
    if text.isascii():
        return
    for name, encoding in (("Latin-1", "latin-1"), ("Windows-1252", "cp1252")):
        with suppress(UnicodeEncodeError):
            yield f"UTF-8 was read as {name} and written as UTF-8", text.encode(encoding)
    for form in ("NFC", "NFD"):
        if (normal := unicodedata.normalize(form, text)) != text:
            yield "its characters were composed in another way (Unicode normalization)", normal.encode()


def _wrapped(body: bytes) -> _Changes:
    """Yield the body out of another notation that contains it."""
    if body.startswith(_GZIP):
        with suppress(zlib.error):
            unpacked = zlib.decompressobj(47).decompress(body, _MOST_BYTES)
            yield "it is compressed", unpacked
    if (found := _BUFFER.fullmatch(body)) is not None:
        yield "it is a printed Buffer of Node.js, not its bytes", bytes.fromhex(found[1].decode())
    bare = body.strip()
    for how, decode in (("base64", base64.b64decode), ("URL-safe base64", _urlsafe), ("hex", bytes.fromhex)):
        with suppress(binascii.Error, ValueError, UnicodeDecodeError):
            if (decoded := _decoded(decode, bare)) is not None:
                yield f"it was encoded in {how}", decoded
    if bare.startswith((b"%7B", b"%7b")) or _FORM_FIELD.match(bare):
        value = bare[len(found[0]) :] if (found := _FORM_FIELD.match(bare)) else bare
        yield "it was encoded as a form field", unquote_to_bytes(value.replace(b"+", b" "))
    if b"&" in body:
        text = body.decode("utf-8", "surrogateescape")
        if (decoded_text := html.unescape(text)) != text:
            yield "its characters were replaced by HTML entities", _utf8(decoded_text)


def _urlsafe(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _decoded(decode: Any, text: bytes) -> bytes | None:
    if not text or text[:1] in b'{["':
        return None
    content: bytes = decode(text.decode("ascii")) if decode == bytes.fromhex else decode(text)
    return content or None


def _json(body: bytes, sender: Sender) -> _Changes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    inner = text.strip()
    before = "" if inner == text else "spaces or line breaks were added at its start or end; "
    if inner[:1] in ("{", "["):
        for how, written in serialisations(inner):
            yield f"{before}{how}", _utf8(written)
        if (again := rendered(inner, sender)) is not None:
            how = (
                "with its numbers in another notation"
                if has_order_of(again, inner)
                else "with its keys in another order"
            )
            yield f"{before}it was re-serialized {how}", _utf8(again)
        yield from _out_of_json(inner)
    if '\\"' in text:
        found = json_or_none(text) if inner[:1] == '"' else json_or_none(f'"{text}"')
        if isinstance(found, str):
            yield "it was written as a JSON string (encoded twice)", _utf8(found)
    if "'" in text and len(text) <= _MOST_OF_PYTHON:
        yield from _out_of_python(text)


def _out_of_json(text: str) -> _Changes:
    """Yield values of an object that contains the body: a wrapper of a gateway, or a Buffer as JSON."""
    value = json_or_none(text)
    if not isinstance(value, dict):
        return
    data = value.get("data")
    if value.get("type") == "Buffer" and isinstance(data, list):
        with suppress(ValueError, TypeError):
            yield "it is a Buffer of Node.js as JSON, not its bytes", bytes(data)
    for inner in list(value.values())[:_MOST_INNER]:
        if isinstance(inner, str) and len(inner) > 1:
            yield "it is inside of another JSON object", _utf8(inner)
        elif isinstance(inner, dict):
            with suppress(ValueError, RecursionError):
                written = json.dumps(inner, ensure_ascii=False, separators=(",", ":"))
                yield "it is inside of another JSON object", _utf8(written)


def _out_of_python(text: str) -> _Changes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return
    if isinstance(value, bytes):
        yield "it is printed bytes of Python (b'…'), not the bytes", value
    elif isinstance(value, str):
        yield "it is in quotes", _utf8(value)
    elif isinstance(value, dict):
        with suppress(ValueError, TypeError, RecursionError):
            written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            yield "it is a printed dict of Python, not JSON", _utf8(written)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

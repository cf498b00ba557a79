"""A whole request as a program recorded it: raw HTTP, JSON of a gateway, or a command of curl. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.avro.json_writer import compact
from schemas.input.header_text import (
    HEADER_KEYS,
    Headers,
    headers_in,
    joined_values,
    plain_key,
    plain_name,
    read_headers,
    read_structure,
)

_REQUEST_LINE: Final = re.compile(rb"^(?:> )?[A-Z]{3,10} \S+ HTTP/[0-9](?:\.[0-9])?[ \t]*\r?$", re.MULTILINE)
_HEADER_LINE: Final = re.compile(rb":?[A-Za-z][A-Za-z0-9_-]*: ?[^\r\n]*\r?\n")
_BLANK_LINE: Final = re.compile(rb"\r?\n[ \t>]*\r?\n")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r?\n")
_BODY_KEYS: Final = ("rawbody", "body", "content", "payload", "postdata", "text", "requestbody", "data")
_DATA_OPTIONS: Final = ("-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--json")
_REWRITTEN: Final = (
    "the file has the body as JSON values and not its bytes: it was written again as compact JSON, which may differ "
    "from what was signed"
)
_MOST_DEPTH: Final = 4
_MOST_BEFORE: Final = 2_000  # bytes of other text before a request line


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """The headers and the body of a request. `notes`: what was done to get the body.

    `is_certain`: the text cannot be the body of a webhook. `has_bytes`: the body is not written again from JSON values.
    """

    headers: dict[str, str]
    body: bytes
    notes: tuple[str, ...]
    is_certain: bool
    has_bytes: bool = True


def read_request(data: bytes) -> RecordedRequest | None:
    """Return the request that was recorded in a file; None if the file holds something else, such as a body alone."""
    text = data.decode("utf-8-sig", "surrogateescape").strip()
    if text.startswith("curl "):
        return _of_curl(text)
    if text[:1] in ("{", "["):
        return _of_structure(read_structure(text))
    return _of_http(data)


def _of_http(data: bytes) -> RecordedRequest | None:
    data = data.removeprefix(b"\xef\xbb\xbf")
    line = _REQUEST_LINE.search(data[:_MOST_BEFORE])
    if line is not None:
        start = line.end() + 1
    elif _HEADER_LINE.match(data.lstrip()):
        start = len(data) - len(data.lstrip())
    else:
        return None
    blank = _BLANK_LINE.search(data, start - 1)
    head, body = (data[start:], b"") if blank is None else (data[start : blank.start()], data[blank.end() :])
    headers = joined_values(
        [(name, value) for name, value in read_headers(head.decode("utf-8", "surrogateescape")) if name[:1] != ":"]
    )
    if not headers:
        return None
    notes = ["the file holds a whole request: its headers and its body were read"]
    lower = {name.lower(): value for name, value in headers.items()}
    if "chunked" in lower.get("transfer-encoding", "").lower() and (whole := _without_chunks(body)) is not None:
        body = whole
        notes.append("the body was put together from its chunks")
    length = lower.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) <= 12 and int(length) < len(body):
        rest = body[int(length) :]
        if not rest.strip() or rest.lstrip().startswith((b"HTTP/", b"< HTTP/", b"* ")):
            body = body[: int(length)]
            notes.append("the body ends where Content-Length says")
    return RecordedRequest(headers, body, tuple(notes), is_certain=True)


def _without_chunks(body: bytes) -> bytes | None:
    """Return the data of a chunked body; None if it is not chunked."""
    parts: list[bytes] = []
    position = 0
    while (size := _CHUNK.match(body, position)) is not None:
        length = int(size[1], 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[size.end() : size.end() + length])
        position = size.end() + length
        position += 2 if body[position : position + 2] == b"\r\n" else 1
    return None


def _of_curl(text: str) -> RecordedRequest | None:
    try:
        words = shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " ").replace(" $'", " '"))
    except ValueError:
        return None
    headers: Headers = []
    body = None
    for option, value in _options(words):
        if option in ("-H", "--header"):
            name, _, content = value.partition(":")
            headers.append((plain_name(name.strip()), content.strip()))
        elif option in _DATA_OPTIONS:
            body = value.encode("utf-8", "surrogateescape")
    if body is None or not headers:
        return None
    notes = ("the file holds a command of curl: its headers and its body were read",)
    return RecordedRequest(joined_values(headers), body, notes, is_certain=True)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    following = iter(words)
    for word in following:
        name, equals, value = word.partition("=")
        if word in ("-H", "--header", *_DATA_OPTIONS):
            yield word, next(following, "")
        elif equals and name.startswith("--"):
            yield name, value
        elif word[:2] in ("-H", "-d") and len(word) > 2:
            yield word[:2], word[2:]


def _of_structure(value: Any) -> RecordedRequest | None:
    for found in _objects(value, 0):
        fields = {plain_key(key): inner for key, inner in found.items()}
        listed = next((fields[key] for key in HEADER_KEYS if isinstance(fields.get(key), Mapping | list | str)), None)
        named = next(((key, fields[key]) for key in _BODY_KEYS if key in fields), None)
        if listed is None or named is None:
            continue
        headers = read_headers(listed) if isinstance(listed, str) else headers_in(listed)
        if not headers:
            continue
        body, notes = _body_of(named[1], is_base64=_is_base64(fields))
        note = "the file holds a whole request: its headers and its body were read"
        names = joined_values([(plain_name(name), content) for name, content in headers])
        has_bytes = _REWRITTEN not in notes
        if not has_bytes:  # the length of other bytes
            names = {name: content for name, content in names.items() if name.lower() != "content-length"}
        return RecordedRequest(names, body, (note, *notes), is_certain=False, has_bytes=has_bytes)
    return None


def _objects(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in a JSON value, outer ones first."""
    if depth > _MOST_DEPTH:
        return
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value[:20]:
            yield from _objects(inner, depth + 1)


def _is_base64(fields: Mapping[str, Any]) -> bool:
    return fields.get("isbase64encoded") is True or "base64" in (fields.get("encoding"), fields.get("bodyencoding"))


def _body_of(value: Any, *, is_base64: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return the bytes of a body in JSON, and what was done to get them."""
    if isinstance(value, Mapping):
        for key in ("text", "data"):  # of HAR, of CloudFront
            inner = value.get(key)
            if isinstance(inner, str) and ("encoding" in value or "mimeType" in value):
                return _body_of(inner, is_base64=is_base64 or value.get("encoding") == "base64")
    if isinstance(value, str) and is_base64:
        return _of_base64(value)
    if (content := _content_of(value)) is not None:
        return content, ()
    try:
        return compact(value).encode(), (_REWRITTEN,)
    except (TypeError, ValueError, RecursionError):
        return b"", ()


def _of_base64(text: str) -> tuple[bytes, tuple[str, ...]]:
    try:
        return base64.b64decode(text, validate=True), ("the body was decoded from base64",)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass"), ("the body is not base64, though the file says so",)


def _content_of(value: Any) -> bytes | None:
    """Return the bytes of text, of bytes, and of a Buffer of Node.js; None if it is another value."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping) and value.get("type") == "Buffer" and isinstance(value.get("data"), list):
        try:
            return bytes(value["data"])
        except (ValueError, TypeError):
            return b""
    if value is None:
        return b""
    return value if isinstance(value, bytes) else None

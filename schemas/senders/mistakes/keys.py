"""Keys that a program may derive from a secret in another way than the sender does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from schemas.senders.mistakes.decoding import decodings, lenient_decodings
from schemas.senders.mistakes.mistake import Form, Mistake
from schemas.senders.mistakes.secrets import split_prefix
from schemas.senders.mistakes.whitespace import edges, stripped


def key_forms(secret: str) -> Iterator[Form[bytes]]:
    """Yield keys that differ from the sender's."""
    text = stripped(secret)
    before = () if text == secret else (Mistake("secret", f"it {edges(secret)}"),)
    for how, key in _keys(text):
        yield Form(key, (*before, Mistake("key", how)))


def _keys(text: str) -> Iterator[tuple[str, bytes]]:
    prefix, bare = split_prefix(text)
    if prefix:
        yield f"as text, with {prefix}, base64 not decoded", _utf8(text)
        yield f"as text without {prefix}, base64 not decoded", _utf8(bare)
    else:
        yield "as text", _utf8(text)
    yield "as text with a line break at the end", _utf8(f"{text}\n")
    for how, key in decodings(bare):
        yield f"decoded from {how}", key
        yield f"decoded from {how} and encoded in hex", key.hex().encode()
        yield f"decoded from {how} twice", _twice(key)
    if prefix:
        for how, key in lenient_decodings(text):
            yield f"decoded from base64 together with its prefix, {how}", key
    for how, encoding in (("Latin-1", "latin-1"), ("UTF-16", "utf-16-le")):
        try:
            yield f"as text in {how}", text.encode(encoding)
        except UnicodeEncodeError:
            continue
    yield "encoded in base64", base64.b64encode(_utf8(text))
    yield "encoded in hex", _utf8(text).hex().encode()
    yield "hashed with SHA-256", hashlib.sha256(_utf8(text)).digest()
    yield "hashed with SHA-256, in hex", hashlib.sha256(_utf8(text)).hexdigest().encode()


def _twice(key: bytes) -> bytes:
    try:
        return next((again for _, again in decodings(key.decode("ascii"))), key)
    except UnicodeDecodeError:
        return key


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

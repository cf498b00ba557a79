"""What the secret may have been if the given one has another form."""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final, TypeAlias
from urllib.parse import unquote

from schemas.senders.mistakes.decoding import decodings
from schemas.senders.mistakes.json_forms import json_or_none
from schemas.senders.mistakes.mistake import Form, forms
from schemas.senders.mistakes.whitespace import BOM, MISREAD_BOM, edges, name_of, stripped
from schemas.senders.standard_webhooks import PRIVATE, PUBLIC, SYMMETRIC

_Changes: TypeAlias = Iterator[tuple[str, str]]

PREFIXES: Final = (SYMMETRIC, PRIVATE, PUBLIC)
# Versions of signatures. Some products show secrets with them.
VERSIONS: Final = ("v1,", "v1=", "v1:", "v1a,")
_QUOTES: Final = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", "«»", "<>")
_ASSIGNMENT: Final = re.compile(r"(?:export\s+|set\s+|\$env:)?[\w.-]+\s*[=:]\s*(\S.*)", re.DOTALL)
_WORD: Final = re.compile(r"(Bearer|Basic|Secret|base64:|sha256=)\s*(\S.*)", re.DOTALL | re.IGNORECASE)
_COMMENT: Final = re.compile(r"(\S.*?)\s+#.*", re.DOTALL)
_MOST_LINES: Final = 20
_MOST_CHARACTERS: Final = 5_000  # longer text is no secret
_ADDED: Final = ("\n", "\r", "\r\n", " ", "\t", "\n\n", "\0", "\u00a0", "\u200b")


def secret_forms(secret: str, *, has_prefix: bool, most: int = 2) -> Iterator[Form[str]]:
    """Yield the given secret and possible right ones. `has_prefix`: the sender's secrets are whsec_ and base64."""
    if len(secret) > _MOST_CHARACTERS:
        yield Form(secret)
        return
    changes = _prefixed if has_prefix else _text
    yield from forms(secret, changes, "secret", most=most)


def _prefixed(text: str) -> _Changes:
    yield from cleaned(text)
    yield from _prefixes(text)
    prefix, bare = split_prefix(text)
    if prefix and ("-" in bare or "_" in bare):
        yield "it is in the URL-safe base64 alphabet", prefix + bare.replace("-", "+").replace("_", "/")
    if prefix and " " in bare:
        yield "its + signs were turned into spaces", prefix + bare.replace(" ", "+")
    for how, key in decodings(bare):
        for wanted in PREFIXES[:2]:
            encoded = wanted + base64.b64encode(key).decode()
            if not prefix or how != "base64":
                yield f"it is the {how} of the key; expected {wanted} and base64", encoded
        yield from _decoded(how, key)
    if not prefix:
        encoded = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
        yield f"it is the key itself; expected {SYMMETRIC} and the base64 of the key", SYMMETRIC + encoded


def _text(text: str) -> _Changes:
    yield from cleaned(text)
    for end in _ADDED:
        how = "the line break" if end == "\n" else _the(name_of(end))
        yield f"{how} at the end belongs to the secret and is missing", text + end
    for start in (BOM, MISREAD_BOM, " ", "\t", "\n"):
        shown = _the(name_of(BOM if start == MISREAD_BOM else start))
        yield f"{shown} at the start belongs to the secret and is missing", start + text
    yield from _prefixes(text)
    for version in VERSIONS[:1]:
        yield f"the prefix {version} belongs to this secret and is missing", version + text
    for quotes in _QUOTES[:2]:
        yield "the quotes around it belong to the secret and are missing", quotes[0] + text + quotes[1]
    for how, key in decodings(split_prefix(text)[1]):
        yield from _decoded(how, key)
    content = text.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(content).decode()
    for written in (encoded, encoded.rstrip("=")):
        yield "it was decoded from base64; use it without decoding", written
    urlsafe = base64.urlsafe_b64encode(content).decode()
    for written in (urlsafe, urlsafe.rstrip("=")):
        yield "it was decoded from URL-safe base64; use it without decoding", written
    yield "it was decoded from hex; use it without decoding", content.hex()
    for form in ("NFC", "NFD"):
        if (normal := unicodedata.normalize(form, text)) != text:
            yield f"its characters are composed in another way; expected the Unicode form {form}", normal


def _the(name: str) -> str:
    return f"the {name.partition(' ')[2]}"


def cleaned(text: str) -> _Changes:
    """Yield the secret without what a copy or a file added to it."""
    if text.startswith((BOM, MISREAD_BOM)):
        yield "a byte order mark is at its start", text.removeprefix(BOM).removeprefix(MISREAD_BOM)
    if (found := edges(text)) is not None and (inner := stripped(text)):
        yield f"it {found}", inner
    if (joined := "".join(text.split())) not in (text, text.strip()):
        yield "it has spaces or line breaks inside", joined
    for read in (_without_signs, _unescaped, _out_of_text):
        yield from read(text)
    half = len(text) // 2
    if half and text[:half] == text[half:]:
        yield "it is there twice", text[:half]
    for how, other in (("lower case", text.lower()), ("capital letters", text.upper())):
        if other != text:
            yield f"its letters are not those of the secret; expected {how}", other


def _without_signs(text: str) -> _Changes:
    for quotes in _QUOTES:
        if len(text) > 2 and text[0] == quotes[0] and text[-1] == quotes[1]:
            yield "it is in quotes", text[1:-1]
    if (bare := text.strip("\"'`,;")) not in (text, ""):
        yield "a quote, comma or semicolon is at its start or end", bare
    for version in VERSIONS:
        if text.startswith(version):
            yield f"the prefix {version} does not belong before the secret", text.removeprefix(version)


def _unescaped(text: str) -> _Changes:
    if (decoded := unquote(text)) != text:
        yield "it is percent-encoded", decoded
    if (decoded := html.unescape(text)) != text:
        yield "it has HTML entities", decoded
    if "\\" in text and '"' not in text:
        value = json_or_none(f'"{text}"')
        if isinstance(value, str):
            yield "its escapes with \\ were not decoded", value


def _out_of_text(text: str) -> _Changes:
    """Yield the secret out of a line or a file that contains it."""
    if (found := _ASSIGNMENT.fullmatch(text.strip())) is not None:
        yield "a name and = or : stand before it", found[1]
    if (found := _WORD.fullmatch(text.strip())) is not None:
        yield "a word that does not belong to it stands before it", found[2]
    if (found := _COMMENT.fullmatch(text)) is not None:
        yield "a comment follows it", found[1]
    lines = stripped(text).splitlines()
    if len(lines) > 1:
        for line in lines[:_MOST_LINES]:
            yield "other lines stand before or after it", line.strip()
    if text.lstrip().startswith("{") and isinstance(value := json_or_none(text), dict):
        for inner in value.values():
            if isinstance(inner, str):
                yield "it is in a JSON object", inner


def _prefixes(text: str) -> _Changes:
    prefix, bare = split_prefix(text)
    if prefix:
        yield f"the prefix {prefix} does not belong to this secret", bare
        return
    for wanted in PREFIXES:
        if text[: len(wanted)].lower() == wanted:
            yield f"the prefix {wanted} is in capital letters", wanted + text[len(wanted) :]
        yield f"the prefix {wanted} is missing", wanted + text


def split_prefix(text: str) -> tuple[str, str]:
    """Return the prefix, such as whsec_, and the rest."""
    prefix = next((prefix for prefix in PREFIXES if text.startswith(prefix)), "")
    return prefix, text.removeprefix(prefix)


def _decoded(how: str, content: bytes) -> _Changes:
    """Yield text that was encoded as a whole, as `echo secret | base64` does."""
    try:
        decoded = content.decode()
    except UnicodeDecodeError:
        return
    yield f"it is the {how} of the secret", decoded
    if decoded.strip("\r\n") != decoded:
        yield f"it is the {how} of the secret and a line break", decoded.strip("\r\n")

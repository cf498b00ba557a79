"""The digests in the headers of a request, in whatever notation. A digest that matches proves the notation."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from schemas.senders.mistakes.mistake import Mistake
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import StandardWebhooks

SHA256_BYTES: Final = 32
ED25519_BYTES: Final = 64
_HEX: Final = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{40,90}={0,2}")
_VERSION: Final = re.compile("v1a?,")
_MOST_HEADERS: Final = 200


@dataclass(frozen=True, slots=True)
class GivenDigest:
    """A digest as it is in a header. `letters` is its text without prefixes."""

    header: str
    digest: bytes
    letters: str
    is_hex: bool


def digests(headers: Mapping[str, str], first: str) -> list[GivenDigest]:
    """Return the digests in all headers, those of `first` first. Names are in the spelling of the request."""
    ordered = sorted(headers.items(), key=lambda item: item[0].lower() != first.lower())
    return [found for name, value in ordered[:_MOST_HEADERS] for found in _digests(name, value)]


def notation(value: str, found: GivenDigest, expected: str) -> tuple[Mistake, ...]:
    """Return what is wrong with the notation of a signature.

    `expected`: the right value, or one of the right ones: Standard Webhooks separates several by spaces.
    """
    if value == expected or (_VERSION.match(expected) and expected in value.split(" ")):
        return ()
    return (Mistake("signature", f"{found.header} {_difference(value, found, expected)}"),)


def _difference(value: str, found: GivenDigest, expected: str) -> str:
    hex_is_expected = re.fullmatch(r"[0-9a-f]{64}", expected.rpartition("=")[2]) is not None
    bare = expected.removeprefix("v1a,").removeprefix("v1,") if not hex_is_expected else expected[-64:]
    prefix = expected.removesuffix(bare)
    if found.is_hex and not hex_is_expected:
        return "is in hex instead of base64"
    if hex_is_expected and not found.is_hex:
        return "is in base64 instead of hex"
    if hex_is_expected and found.letters != found.letters.lower():
        return "has capital letters"
    if found.letters != bare:
        if found.letters.replace("-", "+").replace("_", "/").rstrip("=") != bare.rstrip("="):
            return "is in another notation"
        is_urlsafe = "-" in found.letters or "_" in found.letters
        return "is in URL-safe base64" if is_urlsafe else "lacks its padding (=)"
    return _around(value, found, expected, prefix)


def _around(value: str, found: GivenDigest, expected: str, prefix: str) -> str:
    """Return what is wrong with the text before and after the digest."""
    stripped = value.strip()
    before = stripped[: stripped.find(found.letters)]
    if stripped != value and (stripped == expected or expected in stripped.split()):
        how = "begins or ends with a space"
    elif unquote(stripped) != stripped:
        how = "is percent-encoded"
    elif found.letters not in stripped:
        how = "has spaces in place of + signs"
    elif stripped[:1] in ("'", '"', "["):
        how = "is in quotes or brackets"
    elif _VERSION.match(expected) and expected in re.split(r"[,;]\s*(?=v1a?,)|\s+", value):
        how = "has commas or semicolons between signatures instead of spaces"
    elif not before.endswith(prefix):
        is_missing = not before or before.endswith(" ")
        how = (
            f"lacks the {'prefix' if prefix.endswith('=') else 'version'} {prefix}"
            if is_missing
            else f"has another prefix than {prefix}"
        )
    else:
        how = "has other text before or after the signature"
    return how


def _digests(name: str, value: str) -> Iterator[GivenDigest]:
    for text in dict.fromkeys((value, unquote(value), value.strip().replace(" ", "+"))):
        for hexadecimal in _HEX.findall(text):
            yield GivenDigest(name, bytes.fromhex(hexadecimal), hexadecimal, is_hex=True)
        for letters in _BASE64.findall(text):
            readable = letters.replace("-", "+").replace("_", "/").rstrip("=")
            try:
                digest = base64.b64decode(readable + "=" * (-len(readable) % 4), validate=True)
            except (binascii.Error, ValueError):
                continue
            if _HEX.fullmatch(inner := digest.decode("latin-1")):
                yield GivenDigest(name, bytes.fromhex(inner), letters, is_hex=False)
            elif len(digest) in (SHA256_BYTES, ED25519_BYTES):
                yield GivenDigest(name, digest, letters, is_hex=False)


def cut_signature(signature: HmacSha256Hex | StandardWebhooks, value: str) -> str:
    """Return how the value of a signature header differs from a complete signature."""
    shown = f"{len(value)} characters" if value else "nothing"
    if isinstance(signature, HmacSha256Hex):
        return f"expected {signature.prefix} and 64 hexadecimal digits, found {shown}"
    return f"expected v1, and 44 characters of base64, found {shown}"

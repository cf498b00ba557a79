"""Decodings of text that may be hex or base64."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]")


def decodings(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each encoding that the text can have, and the decoded bytes. Padding is optional."""
    if _HEX.fullmatch(text):
        yield "hex", bytes.fromhex(text)
    bare = text.rstrip("=")
    for how, alphabet in (("base64", b"+/"), ("URL-safe base64", b"-_")):
        if how != "base64" and "-" not in bare and "_" not in bare:
            continue
        try:
            decoded = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=alphabet, validate=True)
        except (binascii.Error, ValueError):
            continue
        if decoded:
            yield how, decoded


def lenient_decodings(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield what decoders return that skip characters outside of base64: for text with a prefix such as whsec_."""
    for how, readable in (
        ("as Node.js does", text.replace("-", "+").replace("_", "/")),
        ("without the characters outside of base64", text),
    ):
        bare = _NOT_BASE64.sub("", readable)
        if len(bare) % 4 != 1:
            yield how, base64.b64decode(bare + "=" * (-len(bare) % 4))

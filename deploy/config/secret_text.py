"""Secrets from files and from the environment: text in UTF-8 without a byte order mark."""

from __future__ import annotations

from typing import Final

from schemas.catalog.errors import InvalidInput

_BOM: Final = "\ufeff"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def read_secret(content: bytes, source: str) -> str:
    """Return the text of a file without a byte order mark and its last line break; InvalidInput names `source`."""
    if content.startswith(_UTF16):
        raise InvalidInput(f"{source}: the text is UTF-16, as PowerShell writes it; save it as UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{source}: not UTF-8 (byte {error.start})") from None
    return without_bom(text).removesuffix("\n").removesuffix("\r")


def without_bom(text: str) -> str:
    """Return a text without byte order marks at its start: editors add them, and they are no part of a secret."""
    return text.lstrip(_BOM)

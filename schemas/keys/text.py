"""Text form of API keys: `spk_<id>_<secret>`.

- `spk_` is what secret scanners look for: `spk_[a-z2-7]{16}_[A-Za-z0-9_-]{48}`.
- The id is 10 random bytes in lower-case base32. It is not secret.
- The secret part is 36 bytes in base64url: 32 random ones, and the CRC-32 of all that comes before it. A scanner can
  therefore distinguish a key from other text without asking anyone, and a key that was cut is recognised as such.

36 bytes fill 48 characters exactly. Each key therefore has one spelling.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "spk_"
SECRET_BYTES: Final = 32
_ID_BYTES: Final = 10
_CRC_BYTES: Final = 4
_FORM: Final = re.compile(r"spk_([a-z2-7]{16})_([A-Za-z0-9_-]{48})")
_ID: Final = re.compile(r"(?:spk_)?([a-z2-7]{16})(?:_[A-Za-z0-9_-]*)?")
# Longer texts are not looked at.
LENGTH: Final = 69


@dataclass(frozen=True, slots=True)
class KeyText:
    """An API key as its holder has it."""

    id: str
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """Return the text form: a secret, to show once."""
        start = f"{PREFIX}{self.id}_"
        checked = self.secret + _crc(start, self.secret)
        return start + base64.urlsafe_b64encode(checked).decode()


def generate_key(random: Callable[[int], bytes]) -> KeyText:
    """Return a new key; `random(n)` returns n bytes, such as `os.urandom`."""
    return KeyText(base64.b32encode(random(_ID_BYTES)).decode().lower(), random(SECRET_BYTES))


def parse_key(text: str) -> KeyText | None:
    """Return the key that a text is, or None; no text raises an exception."""
    match = _FORM.fullmatch(text) if len(text) == LENGTH else None
    if match is None:
        return None
    checked = binascii.a2b_base64(match[2].translate(_STANDARD))
    secret = checked[:SECRET_BYTES]
    if checked[SECRET_BYTES:] != _crc(text[: -len(match[2])], secret):
        return None
    return KeyText(match[1], secret)


def id_in(text: str) -> str | None:
    """Return the id in a key, in a part of a key, or of an id itself; None if there is none.

    Who finds a key in a public place can name it as it is.
    """
    match = _ID.fullmatch(text) if len(text) <= LENGTH else None
    return None if match is None else match[1]


_STANDARD: Final = str.maketrans("-_", "+/")


def _crc(start: str, secret: bytes) -> bytes:
    return zlib.crc32(start.encode() + secret).to_bytes(_CRC_BYTES, "big")

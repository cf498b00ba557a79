"""Signature schemes. A sender.toml names a scheme and its parameters.

A signing key is derived from a secret once per subscription (`signing_key`; InvalidInput, without the secret in its
text, if the secret is invalid). Header lines are built per attempt (`lines`; the newest key comes first).

`verify` returns None if a request is genuine, otherwise the reason. It expects lowercase header names. `now_s` is in
Unix seconds, for schemes that sign the time; None accepts a request of any time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from pydantic import Field, StrictBool, StrictInt

from schemas.catalog.errors import InvalidInput
from schemas.input.file_models import FileModel

# 256 bits, the strength of the hash: 43 characters of the URL-safe base64 alphabet.
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """Signs with one secret. `version` is the scheme's name of the algorithm: `v1`, `v1a`, or empty."""

    version: str
    sign: Callable[[bytes], bytes] = field(repr=False)


def hmac_key(version: str, key: bytes) -> SigningKey:
    """Return a key that signs by HMAC-SHA256 (RFC 2104)."""
    # Each signature starts from a copy of this state. `hmac.digest` would hash the key again each time.
    keyed = HMAC(key, SHA256())

    def sign(message: bytes) -> bytes:
        state = keyed.copy()
        state.update(message)
        return state.finalize()

    return SigningKey(version, sign)


class HmacSha256Hex(FileModel):
    """`scheme = "hmac_sha256_hex"`: one header, a prefix and the lowercase hexadecimal HMAC-SHA256 of the body.

    Receivers compare the whole header value with the expected one, so it never contains two signatures: only the newest
    key signs.
    """

    scheme: Literal["hmac_sha256_hex"]
    header: str = Field(pattern=r"^[A-Za-z0-9-]+$")
    prefix: str = Field(default="", pattern=r"^[\x21-\x7e]*$")
    secret: Literal["utf8"]
    required: StrictBool
    longest_secret: StrictInt | None = Field(default=None, ge=1)  # in characters

    @property
    def header_names(self) -> tuple[str, ...]:
        """The one header."""
        return (self.header,)

    def generate_secret(self) -> str:
        """Return 32 random bytes as text."""
        return secrets.token_urlsafe(_SECRET_BYTES)

    def signing_key(self, secret: str) -> SigningKey:
        """Return a key of the UTF-8 bytes of the secret. Prefixes have no meaning."""
        if not secret:
            raise InvalidInput("the secret is empty: expected at least one character")
        if self.longest_secret is not None and len(secret) > self.longest_secret:
            raise InvalidInput(f"the secret has {len(secret)} characters; at most {self.longest_secret} are allowed")
        try:
            return hmac_key("", secret.encode())
        except UnicodeEncodeError:  # the exception would show the secret
            raise InvalidInput("the secret is not valid text: it contains half of a surrogate pair") from None

    def check_verification_key(self, secret: str) -> None:
        """Raise InvalidInput if receivers cannot verify with this text: it is not a secret of the scheme."""
        self.signing_key(secret)

    def lines(self, event_id: str, body: bytes, keys: Sequence[SigningKey], now_s: int) -> list[bytes]:
        """Return the signature line, or no line without a key. Id and time are not part of the message."""
        if not keys:
            return []
        return [f"{self.header}: {self.prefix}{keys[0].sign(body).hex()}".encode()]

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> str | None:
        """Build the expected value and compare it with the whole header value in constant time."""
        given = headers.get(self.header.lower())
        if given is None:
            return f"the header {self.header} is missing"
        expected = self.prefix + self.signing_key(secret).sign(body).hex()
        # As bytes: compare_digest refuses text that is not ASCII, and a header can contain anything.
        if hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            return None
        return f"{self.header} does not match the body and the secret"

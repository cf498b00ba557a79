"""Standard Webhooks 1.0.0 (specification at standardwebhooks.com): three headers, symmetric and asymmetric keys.

The message is `<id>.<timestamp>.<body>`. A secret is `whsec_` and the base64 of 24 to 64 bytes, the key of HMAC-SHA256
(`v1`); or `whsk_` and the base64 of an ed25519 private key (`v1a`). Receivers get its public key as `whpk_`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, StrictBool, StrictInt

from schemas.catalog.errors import InvalidInput
from schemas.input.file_models import FileModel
from schemas.senders.header_values import header_id
from schemas.senders.signing import SigningKey, hmac_key

HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
SYMMETRIC: Final = "whsec_"
PRIVATE: Final = "whsk_"
PUBLIC: Final = "whpk_"
# The specification's bounds of a symmetric key, and the tolerance of its libraries for the request's time.
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64
TOLERANCE_S: Final = 300
# About 30,000 years. int() raises an exception for several thousand digits.
_MOST_DIGITS: Final = 12
_SEED_BYTES: Final = 32
_EXPECTED_SECRET: Final = "expected whsec_ and the base64 of 24 to 64 bytes"


class StandardWebhooks(FileModel):
    """`scheme = "standard_webhooks"`: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

    During a rotation all secrets sign, the newest first. `unsigned` selects the headers of a request without a secret.
    """

    scheme: Literal["standard_webhooks"]
    versions: tuple[Literal["v1", "v1a"], ...] = Field(min_length=1)
    required: StrictBool
    generated_bytes: StrictInt = Field(default=32, ge=_FEWEST_BYTES, le=_MOST_BYTES)
    unsigned: Literal["nothing", "id_and_timestamp"] = "nothing"

    @property
    def header_names(self) -> tuple[str, ...]:
        """The three headers."""
        return HEADERS

    def generate_secret(self) -> str:
        """Return a new secret: symmetric, or an ed25519 private key if `versions` has only `v1a`."""
        if "v1" in self.versions:
            return SYMMETRIC + base64.b64encode(secrets.token_bytes(self.generated_bytes)).decode()
        private = Ed25519PrivateKey.generate()
        return (
            PRIVATE + base64.b64encode(private.private_bytes_raw() + private.public_key().public_bytes_raw()).decode()
        )

    def signing_key(self, secret: str) -> SigningKey:
        """Return the key in a `whsec_` or `whsk_` secret."""
        if secret.startswith(SYMMETRIC) and "v1" in self.versions:
            return hmac_key("v1", symmetric_key(secret))
        if secret.startswith(PRIVATE) and "v1a" in self.versions:
            return SigningKey("v1a", private_key(secret).sign)
        if secret.startswith(PUBLIC):
            raise InvalidInput("the secret is a public key (whpk_), which cannot sign; give the private key, whsk_")
        asymmetric = ", or whsk_ and the base64 of an ed25519 private key" if "v1a" in self.versions else ""
        raise InvalidInput(f"the secret has the wrong form: {_EXPECTED_SECRET}{asymmetric}")

    def check_verification_key(self, secret: str) -> None:
        """Raise InvalidInput if receivers cannot verify with this text: it is neither a secret nor a public key."""
        if not secret.startswith(PUBLIC):
            self.signing_key(secret)
        elif "v1a" in self.versions:
            public_key(secret)
        else:
            raise InvalidInput(f"it is a public key (whpk_): {_EXPECTED_SECRET}")

    def lines(self, event_id: str, body: bytes, keys: Sequence[SigningKey], now_s: int) -> list[bytes]:
        """Return the three lines; without a key, the lines that `unsigned` selects."""
        if not keys and self.unsigned == "nothing":
            return []
        id_ = header_id(event_id).encode()
        time = b"%d" % now_s
        lines = [b"webhook-id: " + id_, b"webhook-timestamp: " + time]
        if keys:
            message = b"%b.%b.%b" % (id_, time, body)
            signatures = [
                key.version.encode() + b"," + binascii.b2a_base64(key.sign(message), newline=False) for key in keys
            ]
            lines.append(b"webhook-signature: " + b" ".join(signatures))
        return lines

    def verify(self, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> str | None:
        """Verify like the libraries of receivers: one of the signatures has to match the secret or public key."""
        for name in HEADERS:
            if name not in headers:
                return f"the header {name} is missing"
        time = headers["webhook-timestamp"]
        if not is_unix_seconds(time):
            return "webhook-timestamp is not a number of Unix seconds"
        if now_s is not None and abs(now_s - int(time)) > TOLERANCE_S:
            return f"webhook-timestamp is {abs(now_s - int(time))} s away from now; at most {TOLERANCE_S} are accepted"
        version, matches = self._verifier(secret)
        message = f"{headers['webhook-id']}.{time}.".encode("utf-8", "surrogateescape") + body
        given = [part.partition(",")[::2] for part in headers["webhook-signature"].split(" ")]
        if not any(name == version for name, _ in given):
            return f"webhook-signature has no {version} signature"
        for name, signature in given:
            if name == version and matches(message, signature.encode("utf-8", "surrogateescape")):
                return None
        return "webhook-signature does not match id, timestamp, body and the secret"

    def _verifier(self, secret: str) -> tuple[str, Callable[[bytes, bytes], bool]]:
        if secret.startswith(SYMMETRIC):
            sign = hmac_key("v1", symmetric_key(secret)).sign
            return "v1", lambda message, given: hmac.compare_digest(base64.b64encode(sign(message)), given)
        public = public_key(secret)
        return "v1a", lambda message, given: _is_signed(public, message, given)


def is_unix_seconds(text: str) -> bool:
    """Return whether a header value is a time in Unix seconds: only digits, and at most twelve."""
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def symmetric_key(secret: str) -> bytes:
    """Return the bytes in a `whsec_` secret; padding is optional. InvalidInput if the secret is invalid."""
    key = _decoded(secret, SYMMETRIC, _EXPECTED_SECRET)
    if not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
        raise InvalidInput(f"the secret has {len(key)} bytes: {_EXPECTED_SECRET}")
    return key


def private_key(secret: str) -> Ed25519PrivateKey:
    """Return the key in a `whsk_` secret: a seed of 32 bytes, or seed and public key in 64 bytes."""
    key = _decoded(secret, PRIVATE, "expected whsk_ and the base64 of an ed25519 private key")
    if len(key) not in {_SEED_BYTES, 2 * _SEED_BYTES}:
        raise InvalidInput(f"the private key has {len(key)} bytes: expected 32, or 64 with the public key at the end")
    private = Ed25519PrivateKey.from_private_bytes(key[:_SEED_BYTES])
    if key[_SEED_BYTES:] not in {b"", private.public_key().public_bytes_raw()}:
        raise InvalidInput("the private key is invalid: the public key at its end does not belong to it")
    return private


def public_key(secret: str) -> Ed25519PublicKey:
    """Return the verification key of a `whpk_` public key or a `whsk_` private key."""
    if secret.startswith(PRIVATE):
        return private_key(secret).public_key()
    key = _decoded(secret, PUBLIC, "expected whsec_…, whsk_… or whpk_…")
    if len(key) != _SEED_BYTES:
        raise InvalidInput(f"the public key has {len(key)} bytes: expected 32")
    return Ed25519PublicKey.from_public_bytes(key)


def public_text(secret: str) -> str:
    """Return the `whpk_` text of the public key of a `whsk_` secret, for receivers."""
    return PUBLIC + base64.b64encode(public_key(secret).public_bytes_raw()).decode()


def _decoded(secret: str, prefix: str, expected: str) -> bytes:
    text = secret.removeprefix(prefix)
    try:
        if text == secret:
            raise ValueError
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # includes binascii.Error; the message must not show the secret
        raise InvalidInput(f"the secret is not base64 in the standard alphabet: {expected}") from None


def _is_signed(public: Ed25519PublicKey, message: bytes, given: bytes) -> bool:
    try:
        public.verify(base64.b64decode(given, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True

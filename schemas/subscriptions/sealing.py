"""Sealing of secrets on a topic: AES-256-GCM, bound to topic, subscription and secret id.

    sealed = 01 | key id (8 bytes) | nonce (12 bytes) | ciphertext and tag

The additional data are topic, subscription id and secret id, each after its length. Sealed bytes that were copied to
another subscription, secret or topic therefore do not open. The key id is derived from the key without revealing it. It
selects one of several keys, so that a key can be replaced: the first key seals, all keys open, and what an older key
sealed is sealed again with the first.

Nonces are random. NIST SP 800-38D allows 2^32 of them under one key, which is 136 years at one per second.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.catalog.errors import InvalidInput, SealBroken

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_KEY_ID_END: Final = 9
_NONCE_END: Final = 21
_TAG_BYTES: Final = 16
# What an operator can do about a secret whose key is not configured.
ADD_THE_KEY: Final = (
    "add its key to sealing_keys, after the first; if the key is lost, delete the subscriptions that it sealed "
    "(`signpost subscriptions delete` needs no key) and create them again with new secrets"
)


def load_sealing_key(text: str) -> bytes:
    """Decode a key of 32 bytes in base64; the message of InvalidInput does not contain the text."""
    try:
        key = base64.b64decode("".join(text.removeprefix("\ufeff").split()), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(
            "the sealing key has to be 32 random bytes in base64, such as the output of `openssl rand -base64 32`"
        )
    return key


class Sealer:
    """Seals and opens secrets: the first of `keys` (32 bytes each) seals, all open.

    `names` are what an operator calls the keys, for messages. `random(n)` returns n bytes.
    """

    def __init__(
        self, keys: Sequence[bytes], names: Sequence[str] = (), random: Callable[[int], bytes] = os.urandom
    ) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise InvalidInput("sealing needs at least one key, and each key needs 32 bytes")
        self._ciphers = {sealing_key_id(key): AESGCM(key) for key in keys}
        self._names = {sealing_key_id(key): name for key, name in zip(keys, names, strict=False)}
        self._first = sealing_key_id(keys[0])
        self._random = random

    def seal(self, secret: str, *, topic: str, subscription_id: str, secret_id: str) -> bytes:
        """Seal a secret, any text that UTF-8 can encode, for `topic`."""
        nonce = self._random(_NONCE_END - _KEY_ID_END)
        bound = _bound(topic, subscription_id, secret_id)
        return _VERSION + self._first + nonce + self._ciphers[self._first].encrypt(nonce, secret.encode(), bound)

    def open(self, sealed: bytes, *, topic: str, subscription_id: str, secret_id: str) -> str:
        """Open a secret that was sealed for the same topic and ids; SealBroken if it cannot be opened."""
        where = f"secret {secret_id} of subscription {subscription_id}"
        if sealed[:1] != _VERSION or len(sealed) < _NONCE_END + _TAG_BYTES:
            raise SealBroken(f"{where}: {len(sealed)} bytes are not a sealed secret; set the secret again")
        cipher = self._ciphers.get(sealed[1:_KEY_ID_END])
        if cipher is None:
            raise SealBroken(
                f"{where} was sealed with the key {id_of_sealing_key(sealed)}, which is not configured; configured: "
                f"{self.key_names}; {ADD_THE_KEY}"
            )
        try:
            bound = _bound(topic, subscription_id, secret_id)
            return cipher.decrypt(sealed[_KEY_ID_END:_NONCE_END], sealed[_NONCE_END:], bound).decode()
        except (InvalidTag, UnicodeDecodeError) as error:
            raise SealBroken(
                f"{where} was changed, or moved from another subscription or topic; set the secret again"
            ) from error

    def has_key_of(self, sealed: bytes) -> bool:
        """Return whether the key that sealed these bytes is configured."""
        return sealed[:1] == _VERSION and sealed[1:_KEY_ID_END] in self._ciphers

    def is_current(self, sealed: bytes) -> bool:
        """Return whether the first key sealed these bytes."""
        return sealed[:1] == _VERSION and sealed[1:_KEY_ID_END] == self._first

    @property
    def key_names(self) -> str:
        """The configured keys: their names, and the ids derived from them."""
        return ", ".join(
            f"{name} ({key_id.hex()})" if (name := self._names.get(key_id)) else key_id.hex()
            for key_id in self._ciphers
        )


def id_of_sealing_key(sealed: bytes) -> str:
    """Return the id of the key that sealed these bytes, as messages show it."""
    return sealed[1:_KEY_ID_END].hex()


def header_place(name: str, id_: str) -> str:
    """Return the `secret_id` for sealing the value of a header."""
    return f"{id_} for the header {name.lower()}"


def key_place(id_: str) -> str:
    """Return the `secret_id` for sealing the key of a client certificate."""
    return f"{id_} for the client certificate"


def sealing_key_id(key: bytes) -> bytes:
    """Return the id of a sealing key, which does not reveal the key."""
    return hmac.digest(key, b"signpost sealing key id", hashlib.sha256)[: _KEY_ID_END - 1]


def _bound(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)

"""Keyed hashes of API keys: HMAC-SHA256 with a key that is derived from a sealing key by HKDF (RFC 5869).

A reader of the topic can neither use a key nor test guesses. The hash covers everything that decides what the key may
do. A writer of the topic who has no sealing key can therefore neither make a key nor widen one: a record with changed
fields, or with the hash of another record, fits no secret. The time of a revocation is not covered, because it is set
without the secret: such a writer could undo a revocation.

The label of HKDF separates these keys from the ones that seal secrets. With several sealing keys a new hash uses the
first, and a record names the one that it uses.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.catalog.errors import InvalidInput
from schemas.keys.text import SECRET_BYTES, KeyText
from schemas.records.api_key import ApiKey
from schemas.subscriptions.sealing import sealing_key_id

_LABEL: Final = b"signpost api keys v1"
_DIGEST_BYTES: Final = 32


class KeyHasher:
    """Computes and compares the hashes of API keys on a topic; the first of `sealing_keys` is for new hashes."""

    def __init__(self, topic: str, sealing_keys: Sequence[bytes]) -> None:
        if not sealing_keys:
            raise InvalidInput("API keys need at least one sealing key")
        self._topic = topic
        self._keys = {sealing_key_id(key): _derived(key) for key in sealing_keys}
        self.current = sealing_key_id(sealing_keys[0])
        # What an unknown id is compared with. No secret has this hash.
        self._nobody = ApiKey(
            id="",
            sender="",
            customer_id="",
            scope="read",
            description="",
            created_at_ms=0,
            expires_at_ms=None,
            revoked_at_ms=None,
            sealing_key=self.current,
            hash=b"",
        )

    def has_key_of(self, key: ApiKey) -> bool:
        """Return whether the sealing key of this API key is configured."""
        return key.sealing_key in self._keys

    def hash(self, key: ApiKey, secret: bytes) -> bytes:
        """Return the hash of a secret part for a key, whose `sealing_key` has to be configured."""
        return hmac.digest(self._keys[key.sealing_key], _bound(self._topic, key, secret), hashlib.sha256)

    def matches(self, key: ApiKey | None, given: KeyText) -> bool:
        """Return whether the given key is this one. The work is the same for an unknown key (None)."""
        usable = key is not None and key.sealing_key in self._keys and len(key.hash) == _DIGEST_BYTES
        compared = key if key is not None and usable else self._nobody
        computed = self.hash(compared, given.secret)
        expected = compared.hash if usable else bytes(_DIGEST_BYTES)
        return hmac.compare_digest(computed, expected) and usable


def _derived(sealing_key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_DIGEST_BYTES, salt=None, info=_LABEL).derive(sealing_key)


def _bound(topic: str, key: ApiKey, secret: bytes) -> bytes:
    """Return what the hash covers. Each text has its length before it, and an absent value is not an empty one."""
    assert len(secret) == SECRET_BYTES
    parts = [topic, key.id, key.sender, key.customer_id, key.scope, str(key.created_at_ms), _number(key.expires_at_ms)]
    return secret + b"".join(b"\x00" if part is None else _part(part.encode()) for part in parts)


def _part(value: bytes) -> bytes:
    return b"\x01" + len(value).to_bytes(4, "big") + value


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)

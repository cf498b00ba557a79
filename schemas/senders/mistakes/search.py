"""Search for the fewest mistakes that explain a request. A mistake counts only if a signature proves it. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.catalog.errors import InvalidInput
from schemas.senders.mistakes.bodies import body_forms
from schemas.senders.mistakes.keys import key_forms
from schemas.senders.mistakes.mistake import Form, Mistake, T
from schemas.senders.mistakes.secrets import secret_forms
from schemas.senders.mistakes.signatures import ED25519_BYTES, SHA256_BYTES, GivenDigest, digests, notation
from schemas.senders.mistakes.texts import text_forms
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import PRIVATE, PUBLIC, SYMMETRIC, public_key, symmetric_key

_MOST_MISTAKES: Final = 3
# The search ends after so many signatures, or so many signed bytes: about two seconds.
_MOST_SIGNATURES: Final = 40_000
_MOST_SIGNED_BYTES: Final = 512 << 20


def find_mistakes(
    sender: Sender, headers: Mapping[str, str], body: bytes, secret: str, length: int | None
) -> tuple[Mistake, ...] | None:
    """Return the fewest mistakes with which the request is genuine; None if none of the known ones explains it.

    `headers` have the spelling of the request. `length`: the Content-Length.
    """
    return _Search(sender, headers, body, secret, length).run()


class _Levels(Generic[T]):
    """Forms by their number of mistakes, read from an iterator as far as they are needed."""

    def __init__(self, forms: Iterable[Form[T]]) -> None:
        self._forms = iter(forms)
        self._levels: dict[int, list[Form[T]]] = {}
        self._ahead: Form[T] | None = None

    def at(self, cost: int) -> Sequence[Form[T]]:
        """Return the forms with so many mistakes."""
        while self._ahead is None or self._ahead.cost <= cost:
            if self._ahead is not None:
                self._levels.setdefault(self._ahead.cost, []).append(self._ahead)
            self._ahead = next(self._forms, None)
            if self._ahead is None:
                break
        return self._levels.get(cost, [])


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that may have been signed."""

    before: bytes
    body: bytes


class _Search:
    def __init__(
        self, sender: Sender, headers: Mapping[str, str], body: bytes, secret: str, length: int | None
    ) -> None:
        self._signature = sender.signature
        self._headers = headers
        self._name = sender.signature.header_names[-1]
        found = digests(headers, self._name)
        self._hmacs = {each.digest: each for each in reversed(found) if len(each.digest) == SHA256_BYTES}
        self._ed25519 = [each for each in found if len(each.digest) == ED25519_BYTES]
        texts = sorted(text_forms(sender.signature, headers, body), key=lambda form: form.cost)
        self._texts = _Levels(texts)
        self._bodies = _Levels(body_forms(body, sender, length))
        self._hmac_keys = _Levels(_unique(self._keys_of(secret)))
        self._public_keys = _Levels(_public_keys(secret) if self._ed25519 else ())
        self._signatures_left = _MOST_SIGNATURES
        self._bytes_left = _MOST_SIGNED_BYTES

    def run(self) -> tuple[Mistake, ...] | None:
        if not self._hmacs and not self._ed25519:
            return None
        for total in range(_MOST_MISTAKES + 1):
            for text, costs in self._texts_with(total):
                found = self._with_hmac(text, costs) or self._with_ed25519(text, costs)
                if found is not None:
                    return found
                if self._signatures_left <= 0 or self._bytes_left <= 0:
                    return None
        return None

    def _texts_with(self, total: int) -> Iterator[tuple[Form[_Text], int]]:
        """Yield the texts, and how many mistakes remain for the key."""
        for key_cost in range(min(total, 2), -1, -1):
            for text_cost in range(total - key_cost + 1):
                for body in self._bodies.at(total - key_cost - text_cost):
                    for text in self._texts.at(text_cost):
                        yield Form(_Text(text.value, body.value), (*body.mistakes, *text.mistakes)), key_cost

    def _with_hmac(self, text: Form[_Text], cost: int) -> tuple[Mistake, ...] | None:
        message = text.value.before + text.value.body
        for key in self._hmac_keys.at(cost) if self._hmacs else ():
            self._signatures_left -= 1
            self._bytes_left -= len(message)
            digest = hmac.digest(key.value, message, "sha256")
            if (found := self._hmacs.get(digest)) is not None:
                return (*key.mistakes, *text.mistakes, *self._at(found, self._written(digest)))
        return None

    def _with_ed25519(self, text: Form[_Text], cost: int) -> tuple[Mistake, ...] | None:
        message = text.value.before + text.value.body
        for key in self._public_keys.at(cost) if self._ed25519 else ():
            for found in self._ed25519:
                self._signatures_left -= 100  # this is slower than HMAC
                try:
                    Ed25519PublicKey.from_public_bytes(key.value).verify(found.digest, message)
                except InvalidSignature:
                    continue
                expected = "v1a," + base64.b64encode(found.digest).decode()
                return (*key.mistakes, *text.mistakes, *self._at(found, expected))
        return None

    def _at(self, found: GivenDigest, expected: str) -> tuple[Mistake, ...]:
        """Return the mistakes with the header and the notation of the signature."""
        wrong = notation(self._headers[found.header], found, expected)
        if found.header.lower() == self._name.lower():
            return tuple(Mistake(each.part, each.how.replace(found.header, self._name, 1)) for each in wrong)
        is_missing = all(name.lower() != self._name.lower() for name in self._headers)
        how = f"{self._name} is missing, and {found.header} has the signature"
        other = f"{found.header} has the right signature, and {self._name} has another one"
        return (Mistake("header", how if is_missing else other), *wrong)

    def _written(self, digest: bytes) -> str:
        if isinstance(self._signature, HmacSha256Hex):
            return self._signature.prefix + digest.hex()
        return "v1," + base64.b64encode(digest).decode()

    def _keys_of(self, secret: str) -> Iterator[Form[bytes]]:
        """Yield keys with the fewest mistakes first: the sender's keys of all forms, then other derivations."""
        is_text = isinstance(self._signature, HmacSha256Hex)
        others = list(key_forms(secret))
        for form in secret_forms(secret, has_prefix=not is_text):
            while others and others[0].cost < form.cost:
                yield others.pop(0)
            try:
                key = self._key(form.value)
            except InvalidInput:
                continue
            yield Form(key, form.mistakes)
        yield from others

    def _key(self, secret: str) -> bytes:
        if not isinstance(self._signature, HmacSha256Hex):
            if not secret.startswith(SYMMETRIC):
                raise InvalidInput("no secret of HMAC")
            return symmetric_key(secret)
        self._signature.signing_key(secret)
        return secret.encode()


def _public_keys(secret: str) -> Iterator[Form[bytes]]:
    found = secret_forms(secret, has_prefix=True, most=1)
    for form in chain(found):
        if form.value.startswith((PRIVATE, PUBLIC)):
            try:
                yield Form(public_key(form.value).public_bytes_raw(), form.mistakes)
            except InvalidInput:
                continue


def _unique(forms: Iterable[Form[bytes]]) -> Iterator[Form[bytes]]:
    known: set[bytes] = set()
    for form in forms:
        if form.value not in known:
            known.add(form.value)
            yield form

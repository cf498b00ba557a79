"""Diagnosis of requests that are not genuine: common mistakes are tried until the signature matches. Pure.

A signature alone does not distinguish a wrong secret from a changed body. But a secret in another form, a re-serialized
body, or a signature in another notation can be tried. If none matches, the body shows whether Signpost can have sent
it: compact JSON with the length of its Content-Length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from schemas.catalog.errors import InvalidInput
from schemas.senders.sender import Sender
from schemas.senders.signing import hmac_key
from schemas.senders.standard_webhooks import is_unix_seconds
from schemas.senders.verification_guesses import bodies, keys, notations, secrets, why_not_as_sent

Kind: TypeAlias = Literal[
    "genuine",
    "missing_header",
    "stale",
    "secret_encoding",  # the right secret in another form
    "key_encoding",  # the request was signed with the secret in another form
    "changed_body",  # the body was re-serialized, or Signpost cannot have sent it
    "signature_notation",  # the right signature in another notation
    "wrong_secret_or_body",
]
_NOT_GENUINE: Final = "not genuine: "
_STALE: Final = ("a request that was recorded and sent again looks like this; receivers reject it because of its time",)
_RAW: Final = ("the signature covers the received bytes: keep the raw body, and parse it afterwards",)
_OTHER_KEY: Final = (
    "the program that signed this request derives the key from the secret in another way than the sender does",
)
# Headers that are part of the message. They do not depend on the key.
_SIGNED: Final = frozenset({"webhook-id", "webhook-timestamp"})


@dataclass(frozen=True, slots=True)
class Finding:
    """The diagnosis of a request: the kind, a sentence, and hints."""

    kind: Kind
    sentence: str
    hints: tuple[str, ...] = ()

    @property
    def is_genuine(self) -> bool:
        """Whether the request was signed with the secret."""
        return self.kind == "genuine"


def examine(sender: Sender, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> Finding:
    """Return whether a request is genuine, and otherwise why not. `now_s`: Unix seconds; None accepts any time."""
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in sender.signature.header_names if name.lower() not in given]
    if missing:
        # Names are untrusted: control characters and characters outside of UTF-8 are escaped.
        names = ", ".join(name.encode("unicode_escape").decode() for name in sorted(headers)) or "none"
        return Finding("missing_header", f"{_NOT_GENUINE}the header {missing[0]} is missing; given headers: {names}")
    reason = _reason(sender, given, body, secret, now_s)
    if reason is None:
        return Finding("genuine", f"genuine: signed by {sender.name} with this secret")
    if now_s is not None and _matches(sender, given, body, secret):
        return Finding("stale", f"{_NOT_GENUINE}the signature matches, but {reason}", _STALE)
    return _guess(sender, given, body, secret) or _unknown(given, body, reason)


def _guess(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> Finding | None:
    """Return the mistake that explains the request. Single mistakes are tried before pairs."""
    for how, other in secrets(secret):
        if _matches(sender, given, body, other):
            return Finding("secret_encoding", f"{_NOT_GENUINE}the secret is right, but in the wrong form: {how}")
    for how, written in bodies(body):
        if _matches(sender, given, written, secret):
            return Finding("changed_body", f"{_NOT_GENUINE}the secret is right, but the body was changed: {how}", _RAW)
    for how, rewritten in notations(given, sender.signature.header_names):
        if _matches(sender, rewritten, body, secret):
            return Finding(
                "signature_notation", f"{_NOT_GENUINE}the signature is right, but in the wrong notation: {how}"
            )
    for how, key in keys(secret):
        if _is_signed_by(sender, given, body, key):
            sentence = f"it was signed with this secret in another form: {how}"
            return Finding("key_encoding", _NOT_GENUINE + sentence, _OTHER_KEY)
    return _guess_two_mistakes(sender, given, body, secret)


def _guess_two_mistakes(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> Finding | None:
    for secret_how, other in secrets(secret):
        for body_how, written in bodies(body):
            if _matches(sender, given, written, other):
                sentence = f"the secret is in the wrong form ({secret_how}), and the body was changed ({body_how})"
                return Finding("changed_body", _NOT_GENUINE + sentence, _RAW)
    return None


def _unknown(given: Mapping[str, str], body: bytes, reason: str) -> Finding:
    """Return the diagnosis if no mistake matches."""
    why = why_not_as_sent(given, body)
    if why is not None:
        return Finding(
            "changed_body",
            f"{_NOT_GENUINE}the body is not as it was sent: {why}",
            ("the secret can only be checked with the original body: give the received bytes",),
        )
    return Finding(
        "wrong_secret_or_body",
        f"{_NOT_GENUINE}{reason}",
        (
            "either the secret is wrong, or the body was changed; a signature does not show which",
            "the body has the form that Signpost sends, so the secret is probably wrong",
            "it may be the secret of another subscription, or one from before a rotation",
            "if this secret matches another request of the same subscription, the body of this one was changed",
        ),
    )


def _matches(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> bool:
    return _reason(sender, given, body, secret, None) is None


def _reason(sender: Sender, given: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> str | None:
    try:
        return sender.verify(given, body, secret, now_s)
    except InvalidInput as error:
        return str(error)


def _is_signed_by(sender: Sender, given: Mapping[str, str], body: bytes, key: bytes) -> bool:
    """Return whether HMAC with these bytes as its key produces the given signature."""
    time = given.get("webhook-timestamp", "0")
    seconds = int(time) if is_unix_seconds(time) else 0
    made = sender.signature.lines(given.get("webhook-id", ""), body, [hmac_key("v1", key)], seconds)
    for line in made:
        name, _, value = line.decode("utf-8", "surrogateescape").partition(": ")
        if name.lower() in _SIGNED:
            continue
        if set(value.split(" ")) & set(given.get(name.lower(), "").split(" ")):
            return True
    return False

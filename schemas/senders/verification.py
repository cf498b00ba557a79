"""Why a request is not genuine: the mistakes that people make, each tried until one makes its signature fit. Pure.

A signature alone does not tell a wrong secret from a changed body. But a secret in another form, a body that was
written anew, a signature in another notation can be tried; and where none fits, the body itself says whether it can be
one that Signpost sent: compact JSON, as long as its Content-Length.
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
    "key_encoding",  # the signature was made with the secret in another form
    "changed_body",  # the body was written anew, or is not one that Signpost sends
    "signature_notation",  # the right signature, written in another way
    "wrong_secret_or_body",
]
_NOT_GENUINE: Final = "not genuine: "
_STALE: Final = ("a request that is kept and sent again later looks so; receivers refuse it by its time",)
_RAW: Final = ("the signature covers the bytes as they came: keep the raw body, and parse it afterwards",)
_OTHER_KEY: Final = ("who made this request takes the key from the secret in another way than the sender does",)
# Headers that are part of the message, and are the same whatever signs it.
_SIGNED: Final = frozenset({"webhook-id", "webhook-timestamp"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a request: the kind, a sentence, and what else can be said."""

    kind: Kind
    sentence: str
    hints: tuple[str, ...] = ()

    @property
    def is_genuine(self) -> bool:
        """True: the request was signed with the secret."""
        return self.kind == "genuine"


def examine(sender: Sender, headers: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> Finding:
    """Say whether a request is genuine, and why not. `now_s` (Unix seconds): None takes one of any time."""
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in sender.signature.header_names if name.lower() not in given]
    if missing:
        # Names come from whoever sent the request: what a terminal would obey, or no UTF-8 holds, is escaped.
        near = f"; given are {', '.join(name.encode('unicode_escape').decode() for name in sorted(headers)) or 'none'}"
        return Finding("missing_header", f"{_NOT_GENUINE}the header {missing[0]} is missing{near}")
    reason = _reason(sender, given, body, secret, now_s)
    if reason is None:
        return Finding("genuine", f"genuine: signed by {sender.name} with this secret")
    if now_s is not None and _fits(sender, given, body, secret):
        return Finding("stale", f"{_NOT_GENUINE}the signature fits, but {reason}", _STALE)
    return _guess(sender, given, body, secret) or _unknown(given, body, reason)


def _guess(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> Finding | None:
    """Return the mistake that fits, those with one mistake before those with two."""
    for how, other in secrets(secret):
        if _fits(sender, given, body, other):
            return Finding("secret_encoding", f"{_NOT_GENUINE}the secret is the right one in the wrong form: {how}")
    for how, written in bodies(body):
        if _fits(sender, given, written, secret):
            return Finding("changed_body", f"{_NOT_GENUINE}the secret is right and the body was changed: {how}", _RAW)
    for how, rewritten in notations(given, sender.signature.header_names):
        if _fits(sender, rewritten, body, secret):
            return Finding(
                "signature_notation", f"{_NOT_GENUINE}the signature is right and written in another way: {how}"
            )
    for how, key in keys(secret):
        if _is_signed_by(sender, given, body, key):
            sentence = f"it was signed with this secret in another form: {how}"
            return Finding("key_encoding", _NOT_GENUINE + sentence, _OTHER_KEY)
    return _guess_two_mistakes(sender, given, body, secret)


def _guess_two_mistakes(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> Finding | None:
    for secret_how, other in secrets(secret):
        for body_how, written in bodies(body):
            if _fits(sender, given, written, other):
                sentence = f"the secret is in the wrong form ({secret_how}), and the body was changed ({body_how})"
                return Finding("changed_body", _NOT_GENUINE + sentence, _RAW)
    return None


def _unknown(given: Mapping[str, str], body: bytes, reason: str) -> Finding:
    """Say what can be known where no mistake fits."""
    why = why_not_as_sent(given, body)
    if why is not None:
        return Finding(
            "changed_body",
            f"{_NOT_GENUINE}the body is not as it was sent: {why}",
            ("whether the secret is right cannot be told before the body is: give the bytes as they came",),
        )
    return Finding(
        "wrong_secret_or_body",
        f"{_NOT_GENUINE}{reason}",
        (
            "the secret is another one, or the body was changed; a signature does not tell which",
            "the body has the form in which Signpost sends it, which speaks for another secret",
            "that may be the secret of another subscription, or one from before a rotation",
            "if this secret fits another request of the same subscription, the body of this one was changed",
        ),
    )


def _fits(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> bool:
    return _reason(sender, given, body, secret, None) is None


def _reason(sender: Sender, given: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> str | None:
    try:
        return sender.verify(given, body, secret, now_s)
    except InvalidInput as error:
        return str(error)


def _is_signed_by(sender: Sender, given: Mapping[str, str], body: bytes, key: bytes) -> bool:
    """Tell whether HMAC with these bytes as its key makes the signature that was given."""
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

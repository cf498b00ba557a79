"""Diagnosis of requests that are not genuine: usual mistakes are tried until the signature matches. Pure.

Every mistake that a sentence states is proven by a signature that matches without it. If none matches, a signature does
not show whether the secret is wrong or the body was changed; the sentence then says so. schemas/senders/mistakes has
the mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from schemas.catalog.errors import InvalidInput
from schemas.senders.mistakes.mistake import Mistake, Part
from schemas.senders.mistakes.search import find_mistakes
from schemas.senders.mistakes.sent_bodies import doubts, why_not_sent
from schemas.senders.mistakes.signatures import cut_signature, digests
from schemas.senders.mistakes.texts import seconds_of
from schemas.senders.sender import Sender, load_senders
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import HEADERS, TOLERANCE_S

Kind: TypeAlias = Literal[
    "genuine",
    "missing_header",
    "renamed_header",
    "stale",
    "wrong_time",  # the time in another unit
    "secret_encoding",  # the right secret in another form
    "key_encoding",  # the request was signed with the secret in another form
    "invalid_secret",  # no secret of the sender has this form
    "changed_body",  # the body was re-serialized, or Signpost cannot have sent it
    "signature_notation",  # the right signature in another notation
    "other_text",  # another text was signed than the sender signs
    "other_sender",  # another sender signs like this
    "wrong_secret_or_body",
]
_NOT_GENUINE: Final = "not genuine: "
_RAW: Final = "the signature covers the received bytes: keep the raw body, and parse it afterwards"
_OTHER_KEY: Final = (
    "the program that signed this request derives the key from the secret in another way than the sender does"
)
# In the order in which a finding names them: its kind, a sentence about one mistake alone, and one among several.
_PARTS: Final[Mapping[Part, tuple[Kind, str, str]]] = {
    "secret": (
        "secret_encoding",
        "the secret is right, but in the wrong form: {}",
        "the secret is in the wrong form ({})",
    ),
    "key": (
        "key_encoding",
        "it was signed with this secret in another form: {}",
        "it was signed with another form of the secret ({})",
    ),
    "header": ("renamed_header", "the secret is right, but {}", "{}"),
    "time": ("wrong_time", "the secret is right, but {}", "{}"),
    "signature": (
        "signature_notation",
        "the signature is right, but in the wrong notation: {}",
        "the signature is in the wrong notation ({})",
    ),
    "text": ("other_text", "it was signed with this secret, but over another text: {}", "the signed text is {}"),
    "body": (
        "changed_body",
        "the secret is right, but the body was changed: {}",
        "the body was changed ({})",
    ),
}


@dataclass(frozen=True, slots=True)
class SignatureFinding:
    """The diagnosis of a request: the kind, a sentence, and hints."""

    kind: Kind
    sentence: str
    hints: tuple[str, ...] = ()

    @property
    def is_genuine(self) -> bool:
        """Whether the request was signed with the secret."""
        return self.kind == "genuine"

    @property
    def is_proven(self) -> bool:
        """Whether a signature that matches proves the sentence."""
        return self.kind not in ("missing_header", "invalid_secret", "wrong_secret_or_body")


def examine(
    sender: Sender,
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    now_s: int | None,
    *,
    has_bytes: bool = True,
) -> SignatureFinding:
    """Return whether a request is genuine, and otherwise why not. `now_s`: Unix seconds; None accepts any time.

    `has_bytes`: the body is as it was received. Otherwise it was written again, and nothing follows from its form.
    """
    given = {name.lower(): value for name, value in headers.items()}
    mismatch = _reason(sender, given, body, secret, None)
    if mismatch is None:
        reason = _reason(sender, given, body, secret, now_s)
        if reason is None:
            return SignatureFinding("genuine", f"genuine: signed by {sender.name} with this secret")
        return SignatureFinding(
            "stale", f"{_NOT_GENUINE}the signature matches, but {reason}", _about_time(given, now_s)
        )
    found = _other_sender(sender, given, body, secret)
    if found is None:
        mistakes = find_mistakes(sender, headers, body, secret, _length(given))
        found = (
            _explained(mistakes) if mistakes else _unknown(sender, headers, body, secret, mismatch, has_bytes=has_bytes)
        )
    if (age := _too_old(sender, given, now_s)) is not None and found.kind != "missing_header":
        found = replace(found, hints=(*found.hints, age))
    return found


def _explained(mistakes: Sequence[Mistake]) -> SignatureFinding:
    """Return a finding that names proven mistakes."""
    hows = {part: "; ".join(dict.fromkeys(m.how for m in mistakes if m.part == part)) for part in _PARTS}
    named = [part for part in _PARTS if hows[part]]
    hints = [hint for part, hint in (("body", _RAW), ("key", _OTHER_KEY)) if part in named]
    kind = _PARTS[named[-1]][0]
    if len(named) == 1:
        sentence = _PARTS[named[0]][1].format(hows[named[0]])
    else:
        clauses = [_PARTS[part][2].format(hows[part]) for part in named]
        sentence = f"{', '.join(clauses[:-1])}, and {clauses[-1]}"
    return SignatureFinding(kind, _NOT_GENUINE + sentence, tuple(hints))


def _other_sender(sender: Sender, given: Mapping[str, str], body: bytes, secret: str) -> SignatureFinding | None:
    """Return that the request is genuine for senders that sign in another way."""
    own = sender.signature.header_names
    names = [
        other.name
        for other in load_senders().values()
        if other.signature.header_names != own and _reason(other, given, body, secret, None) is None
    ]
    if not names:
        return None
    header = load_senders()[names[0]].signature.header_names[-1]
    senders = ", ".join(names)
    hints = [f"verify it with --sender {name}" for name in names[:1]]
    if _is_same_but_header(sender, load_senders()[names[0]]):
        hints.append(f"or it is of {sender.name}, and a program renamed {own[-1]}")
    sentence = f"{header} matches this secret, as in requests of {senders}; {sender.name} signs with {own[-1]}"
    return SignatureFinding("other_sender", _NOT_GENUINE + sentence, tuple(hints))


def _is_same_but_header(sender: Sender, other: Sender) -> bool:
    one, two = sender.signature, other.signature
    return isinstance(one, HmacSha256Hex) and isinstance(two, HmacSha256Hex) and one.prefix == two.prefix


def _unknown(
    sender: Sender, headers: Mapping[str, str], body: bytes, secret: str, mismatch: str, *, has_bytes: bool
) -> SignatureFinding:
    """Return the diagnosis if no mistake is proven."""
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in sender.signature.header_names if name.lower() not in given]
    if missing:
        return _missing(sender, headers, missing)
    if (invalid := _invalid(sender, secret)) is not None:
        sentence = f"{_NOT_GENUINE}this cannot be a secret of {sender.name}: {invalid}"
        return SignatureFinding("invalid_secret", sentence, _masked(secret))
    name = sender.signature.header_names[-1]
    if not digests({name: given[name.lower()]}, name):
        return SignatureFinding(
            "signature_notation",
            f"{_NOT_GENUINE}{name} has no complete signature: {cut_signature(sender.signature, given[name.lower()])}",
        )
    length = given.get("content-length")
    why = why_not_sent(sender, body, length) if has_bytes else None
    if why is not None:
        return SignatureFinding(
            "changed_body",
            f"{_NOT_GENUINE}Signpost cannot have sent this body: {why}",
            (
                "the secret can only be checked with the original body: give the received bytes",
                *_masked(secret),
            ),
        )
    reasons = tuple(doubts(sender, body, has_length=length is not None))
    likely = "another secret, or a changed body" if reasons or not has_bytes else "probably another secret"
    return SignatureFinding(
        "wrong_secret_or_body",
        f"{_NOT_GENUINE}{mismatch}: {likely}",
        (
            "either the secret is another one, or the body was changed; a signature does not show which",
            *reasons,
            *_masked(secret),
            "it may be the secret of another subscription, or one from before a rotation",
            "if this secret matches another request of the same subscription, the body of this one was changed",
        ),
    )


def _missing(sender: Sender, headers: Mapping[str, str], missing: Sequence[str]) -> SignatureFinding:
    # Names are untrusted: control characters and characters outside of UTF-8 are escaped.
    names = ", ".join(name.encode("unicode_escape").decode() for name in sorted(headers)) or "none"
    hints = []
    if len(missing) > 1:
        hints.append(f"also missing: {', '.join(missing[1:])}")
    if not sender.needs_secret and len(missing) == len(sender.signature.header_names):
        hints.append(f"requests of {sender.name} have no signature if the subscription has no secret")
    sentence = f"{_NOT_GENUINE}the header {missing[0]} is missing; given headers: {names}"
    return SignatureFinding("missing_header", sentence, tuple(hints))


def _invalid(sender: Sender, secret: str) -> str | None:
    """Return why a text cannot be a secret of the sender, or its public key; None if it can."""
    try:
        sender.signature.check_verification_key(secret)
    except InvalidInput as error:
        return str(error)
    return None


def _masked(secret: str) -> tuple[str, ...]:
    """Return a hint if a text looks like something that is shown in place of a secret."""
    if any(sign in secret for sign in ("***", "•••", "…", "...", "xxxx", "XXXX")):
        return ("the secret looks as if a part of it is masked or left out",)
    if secret.strip().startswith("sec_"):
        return ("the secret begins with sec_, as the ids of secrets do that `signpost subscriptions show` shows",)
    return ()


def _too_old(sender: Sender, given: Mapping[str, str], now_s: int | None) -> str | None:
    """Return that the time of a request that is not genuine anyway would not be accepted either."""
    if now_s is None or sender.signature.header_names != HEADERS:
        return None
    at = seconds_of(given.get("webhook-timestamp", ""))
    if at is None or abs(now_s - at) <= TOLERANCE_S:
        return None
    away = abs(now_s - at)
    return f"its time is also {away} s away from now; at most {TOLERANCE_S} are accepted, and any with --any-time"


def _about_time(given: Mapping[str, str], now_s: int | None) -> tuple[str, ...]:
    at = seconds_of(given["webhook-timestamp"])
    if at is None or now_s is None:
        return ()
    if at > now_s:
        return ("the time lies in the future: the clock of this machine or of the sender may be wrong",)
    return (
        "a request that was recorded and sent again looks like this; receivers reject it because of its time",
        "with --any-time, a recorded request is accepted at any time",
    )


def _length(given: Mapping[str, str]) -> int | None:
    text = given.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _reason(sender: Sender, given: Mapping[str, str], body: bytes, secret: str, now_s: int | None) -> str | None:
    try:
        return sender.verify(given, body, secret, now_s)
    except InvalidInput as error:
        return str(error)

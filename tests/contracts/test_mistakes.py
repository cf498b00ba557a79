"""`signpost verify` names usual mistakes with requests of the contracts' vectors, of every sender."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Callable

import pytest

from schemas.senders.standard_webhooks import public_text
from tests.contracts.senders import SENDERS
from tests.contracts.signed import (
    ALL,
    DILIGENT,
    ONBOARDING,
    RISKOS,
    STANDARD,
    TEXT,
    WHSEC,
    ZENOO,
    Signed,
    by_sender,
    hex_signature,
    key_text,
    of_vector,
    standard_headers,
)


@by_sender(*ALL)
def test_requests_of_the_vectors_are_genuine(signed: Signed) -> None:
    """Each request is genuine with its secret, in any spelling of the header names."""
    assert signed.examined().is_genuine
    assert signed.examined(headers={name.lower(): value for name, value in signed.headers.items()}).is_genuine
    assert signed.examined(headers={name.upper(): value for name, value in signed.headers.items()}).is_genuine


@by_sender(*ALL)
def test_another_secret_is_called_that(signed: Signed) -> None:
    """With an unchanged body and another secret, no finding says that the body was changed."""
    finding = signed.examined(secret=SENDERS[signed.sender].generate_secret())
    assert finding.kind == "wrong_secret_or_body"
    assert "another secret" in finding.sentence
    assert "changed" not in finding.sentence.replace("another secret, or a changed body", "")


@by_sender(*ALL)
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("\ufeff{}", "begins with a byte order mark"),
        ("ï»¿{}", "a byte order mark is at its start"),
        ("{}\n", "ends with a line break (\\n)"),
        ("{}\r", "ends with a carriage return (\\r)"),
        ("{}\r\n", "ends with a line break (\\r\\n)"),
        ("{}\t", "ends with a tab"),
        (" {} ", "begins with a space and ends with a space"),
        ("\u00a0{}", "begins with a no-break space"),
        ('"{}"', "it is in quotes"),
        ("'{}',", "a quote, comma or semicolon"),
        ("v1,{}", "the prefix v1, does not belong before the secret"),
        ("v1,{}\n", "the prefix v1, does not belong before the secret"),
        ("ACME_SECRET={}", "a name and = or : stand before it"),
        ("export ACME_SECRET='{}'", "a name and = or : stand before it"),
        ('{{"secret": "{}"}}', "it is in a JSON object"),
        ("Bearer {}", "a word that does not belong to it"),
        ("{0}{0}", "it is there twice"),
        ("A=1\n{}\nB=2", "other lines stand before or after it"),
        ("{} # of acme", "a comment follows it"),
    ],
)
def test_what_was_added_to_the_secret_is_named(signed: Signed, form: str, expected: str) -> None:
    """Whatever a copy, a file or a shell adds to a secret is named, and the secret is not shown."""
    finding = signed.examined(secret=form.format(signed.secret))
    assert finding.kind == "secret_encoding"
    if "byte order" not in expected or "\ufeff" not in form:
        assert expected in finding.sentence
    else:
        assert "byte order mark" in finding.sentence
    assert signed.secret not in finding.sentence


@by_sender(*TEXT)
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("\ufeff{}", "the byte order mark (U+FEFF) at the start belongs to the secret and is missing"),
        ("{}\n", "the line break at the end belongs to the secret and is missing"),
        ("{}\r", "the carriage return (\\r) at the end belongs to the secret and is missing"),
        ("{}\r\n", "the line break (\\r\\n) at the end belongs to the secret and is missing"),
        ("{} ", "the space at the end belongs to the secret and is missing"),
        (" {} ", "the space at the start belongs to the secret and is missing"),
        ("\ufeff{}\r", "the carriage return (\\r) at the end belongs to the secret and is missing"),
        ("{}\t", "the tab at the end belongs to the secret and is missing"),
        ('"{}"', "the quotes around it belong to the secret and are missing"),
        ("v1,{}", "the prefix v1, belongs to this secret and is missing"),
        ("whsec_{}", "the prefix whsec_ is missing"),
    ],
)
def test_what_is_missing_of_the_secret_is_named(signed: Signed, form: str, expected: str) -> None:
    """A subscription whose secret was written with white space signs with it; the clean secret is incomplete."""
    name, _ = signed.signature
    headers = {name: hex_signature(form.format(signed.secret).encode(), signed.body)}
    finding = signed.examined(headers=headers)
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence


@by_sender(*WHSEC)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.removeprefix("whsec_"), "the prefix whsec_ is missing"),
        (lambda s: s.replace("whsec_", "WHSEC_"), "the prefix whsec_ is in capital letters"),
        (lambda s: f"whsec_{s}", "the prefix whsec_ does not belong to this secret"),
        (lambda s: base64.b64decode(key_text(s)).hex(), "it is the hex of the key; expected whsec_ and base64"),
        (lambda s: base64.b64encode(s.encode()).decode(), "it is the base64 of the secret"),
        (lambda s: base64.b64encode(f"{s}\n".encode()).decode(), "it is the base64 of the secret and a line break"),
        (lambda s: s.encode().hex(), "it is the hex of the secret"),
        (lambda s: f"{s[:20]}\n{s[20:]}", "it has spaces or line breaks inside"),
        (lambda s: s.replace("_", "%5F"), "it is percent-encoded"),
        (lambda s: f"v1,{s.removeprefix('whsec_')}", "the prefix v1, does not belong before the secret"),
    ],
)
def test_whsec_secret_in_another_form_is_named(signed: Signed, change: Callable[[str], str], expected: str) -> None:
    """A secret without its prefix, in another encoding, or encoded twice is distinguished from another secret."""
    finding = signed.examined(secret=change(signed.secret))
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence


def test_alphabet_of_a_whsec_secret_is_named() -> None:
    """A secret without padding is the same, one in the URL-safe alphabet is another text."""
    assert STANDARD.examined(secret=STANDARD.secret.rstrip("=")).is_genuine
    urlsafe = RISKOS.secret.replace("+", "-").replace("/", "_")
    assert urlsafe != RISKOS.secret
    assert "it is in the URL-safe base64 alphabet" in RISKOS.examined(secret=urlsafe).sentence


@by_sender(*TEXT)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: base64.b64encode(s.encode()).decode(), "it is the base64 of the secret"),
        (lambda s: base64.b64encode(s.encode()).decode() + "\n", "it is the base64 of the secret"),
        (lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="), "base64 of the secret"),
        (lambda s: s.encode().hex(), "it is the hex of the secret"),
        (lambda s: f"whsec_{s}", "the prefix whsec_ does not belong to this secret"),
        (lambda s: s.upper(), "its letters are not those of the secret; expected lower case"),
        (lambda s: s.replace("-", "%2D"), "it is percent-encoded"),
    ],
)
def test_text_secret_in_another_form_is_named(signed: Signed, change: Callable[[str], str], expected: str) -> None:
    """If the key is the text of the secret, an encoded secret is distinguished from another secret."""
    finding = signed.examined(secret=change(signed.secret))
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence


def test_unicode_form_of_a_secret_is_named() -> None:
    """`é` has two forms in Unicode, and another form is another key."""
    signed = of_vector("zenoo", "zenoo", "non_ascii_secret")
    finding = signed.examined(secret=unicodedata.normalize("NFD", signed.secret))
    assert finding.kind == "secret_encoding"
    assert "the Unicode form NFC" in finding.sentence


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (ONBOARDING.secret.encode(), "as text, with whsec_, base64 not decoded"),
        (ONBOARDING.secret.removeprefix("whsec_").encode(), "as text without whsec_, base64 not decoded"),
        (base64.b64decode(f"{ONBOARDING.secret.replace('_', '/')}=="), "decoded from base64 together with its prefix"),
        (hashlib.sha256(ONBOARDING.secret.encode()).digest(), "hashed with SHA-256"),
    ],
)
def test_key_of_a_whsec_secret_that_was_not_decoded_is_named(key: bytes, expected: str) -> None:
    """A program that derives another key from the right secret is distinguished from another secret."""
    headers = standard_headers(key, b"evt_0001.1769069730." + ONBOARDING.body)
    finding = ONBOARDING.examined(headers=headers)
    assert finding.kind == "key_encoding"
    assert expected in finding.sentence


def test_text_secret_that_was_decoded_is_named() -> None:
    """For zenoo, whsec_ has no meaning: a program that decodes such a secret signs with another key."""
    signed = of_vector("zenoo", "zenoo", "secret_with_whsec_prefix")
    key = base64.b64decode(signed.secret.removeprefix("whsec_"))
    finding = signed.examined(headers={"X-Zenoo-Signature": hex_signature(key, signed.body)})
    assert finding.kind == "key_encoding"
    assert "decoded from base64" in finding.sentence


@by_sender(*WHSEC)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda digest: f"v1,{digest.hex()}", "is in hex instead of base64"),
        (lambda digest: digest.hex(), "is in hex instead of base64"),
        (lambda digest: base64.b64encode(digest).decode(), "lacks the version v1,"),
        (lambda digest: f"v1={base64.b64encode(digest).decode()}", "has another prefix than v1,"),
        (lambda digest: f"v1,{base64.b64encode(digest).decode().rstrip('=')}", "lacks its padding (=)"),
        (lambda digest: f'"v1,{base64.b64encode(digest).decode()}"', "is in quotes or brackets"),
        (lambda digest: f"v1%2C{base64.b64encode(digest).decode()}", "is percent-encoded"),
        (lambda digest: f"v1,{base64.b64encode(digest).decode()}".replace("+", " "), "has spaces in place of + signs"),
        (
            lambda digest: f"v1,{'A' * 43}=,v1,{base64.b64encode(digest).decode()}",
            "has commas or semicolons between signatures instead of spaces",
        ),
    ],
)
def test_notation_of_a_base64_signature_is_named(signed: Signed, change: Callable[[bytes], str], expected: str) -> None:
    """The right signature in a notation that no receiver accepts is named."""
    name, value = signed.signature
    digest = base64.b64decode(value.removeprefix("v1,"))
    finding = signed.examined(headers=signed.headers | {name: change(digest)})
    assert finding.kind == "signature_notation"
    assert f"{name} {expected}" in finding.sentence


@by_sender(*TEXT)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda digest: digest.hex(), "lacks the prefix sha256="),
        (lambda digest: f"sha256={digest.hex().upper()}", "has capital letters"),
        (lambda digest: f"sha256={base64.b64encode(digest).decode()}", "is in base64 instead of hex"),
        (lambda digest: base64.b64encode(digest.hex().encode()).decode(), "is in base64 instead of hex"),
        (lambda digest: f"v1,{base64.b64encode(digest).decode()}", "is in base64 instead of hex"),
        (lambda digest: f"v1={digest.hex()}", "has another prefix than sha256="),
        (lambda digest: f"sha256={digest.hex()} ", "begins or ends with a space"),
        (lambda digest: f"sha256%3D{digest.hex()}", "is percent-encoded"),
        (lambda digest: f"sha256={digest.hex()}, sha256={digest.hex()}", "has other text before or after"),
    ],
)
def test_notation_of_a_hex_signature_is_named(signed: Signed, change: Callable[[bytes], str], expected: str) -> None:
    """Prefix, capital letters and base64 are named with the header in its documented spelling."""
    name, value = signed.signature
    digest = bytes.fromhex(value.removeprefix("sha256="))
    finding = signed.examined(headers={name.lower(): change(digest)})
    assert finding.kind == "signature_notation"
    assert f"{name} {expected}" in finding.sentence


@by_sender(*ALL)
@pytest.mark.parametrize("cut", [0, 5, 20])
def test_cut_signature_is_named(signed: Signed, cut: int) -> None:
    """A signature that is cut off is no proof of another secret."""
    name, value = signed.signature
    finding = signed.examined(headers=signed.headers | {name: value[:cut]})
    assert finding.kind == "signature_notation"
    assert f"{name} has no complete signature" in finding.sentence


@by_sender(*WHSEC)
@pytest.mark.parametrize("prefix", ["svix-", "X-Webhook-", "webhook_"])
def test_renamed_headers_are_named(signed: Signed, prefix: str) -> None:
    """Headers with other names are found by their values: the signature proves them."""
    headers = {name.replace("webhook-", prefix): value for name, value in signed.headers.items()}
    finding = signed.examined(headers=headers)
    assert finding.kind == "renamed_header"
    for name in ("id", "timestamp", "signature"):
        assert f"webhook-{name} is missing, and {prefix}{name}" in finding.sentence


@by_sender(*WHSEC)
def test_missing_header_is_named(signed: Signed) -> None:
    """Without a header there is nothing to prove; the given headers are listed."""
    for missing in signed.headers:
        headers = {name: value for name, value in signed.headers.items() if name != missing}
        finding = signed.examined(headers=headers)
        if missing == "webhook-id":  # the body has the id as well
            assert finding.kind == "renamed_header"
            assert "webhook-id is missing, and the event_id of the body was signed" in finding.sentence
        else:
            assert finding.kind == "missing_header"
            assert f"the header {missing} is missing; given headers: " in finding.sentence


def test_unsigned_request_of_an_optional_signature_has_a_hint() -> None:
    """For senders whose secret is optional, a request without a signature may be right."""
    for signed, expected in ((DILIGENT, True), (RISKOS, True), (ZENOO, False), (STANDARD, False)):
        finding = signed.examined(headers={"Content-Type": "application/json"})
        assert finding.kind == "missing_header"
        assert any("have no signature if the subscription has no secret" in hint for hint in finding.hints) is expected


def test_signature_of_another_sender_is_named() -> None:
    """A request that is genuine for a sender with another scheme names this sender."""
    _, value = DILIGENT.signature
    finding = ZENOO.examined(headers={"X-Signature": value}, body=DILIGENT.body, secret=DILIGENT.secret)
    assert finding.kind == "other_sender"
    assert "X-Signature matches this secret, as in requests of diligent" in finding.sentence
    finding = ZENOO.examined(headers=ONBOARDING.headers, body=ONBOARDING.body, secret=ONBOARDING.secret)
    assert "as in requests of onboarding, riskos, standard" in finding.sentence
    headers = {"X-Zenoo-Signature": hex_signature(STANDARD.secret.encode(), STANDARD.body)}
    assert "as in requests of zenoo" in STANDARD.examined(headers=headers).sentence


@by_sender(*WHSEC)
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("1769069730000", "is in milliseconds instead of seconds, and the seconds were signed"),
        ("1769069730123456", "is in microseconds instead of seconds, and the seconds were signed"),
        ("1769069730.5", "has decimals, and the seconds were signed"),
        ("2026-01-22T08:15:30Z", "is a date instead of Unix seconds, and the seconds were signed"),
        ("Thu, 22 Jan 2026 08:15:30 GMT", "is a date instead of Unix seconds, and the seconds were signed"),
        (" 1769069730 ", "has other characters around the number"),
    ],
)
def test_time_in_another_unit_is_named(signed: Signed, time: str, expected: str) -> None:
    """The seconds are computed from the given time; the signature proves them."""
    finding = signed.examined(headers=signed.headers | {"webhook-timestamp": time}, now_s=1769069730)
    assert finding.kind == "wrong_time"
    assert f"webhook-timestamp {expected}" in finding.sentence


def test_signed_milliseconds_are_named() -> None:
    """A program that signs milliseconds is distinguished from one that only sends them."""
    key = base64.b64decode(key_text(ONBOARDING.secret))
    headers = standard_headers(key, b"evt_0001.1769069730123." + ONBOARDING.body, time="1769069730123")
    finding = ONBOARDING.examined(headers=headers)
    assert finding.kind == "wrong_time"
    assert "webhook-timestamp is in milliseconds instead of seconds" in finding.sentence
    assert "the seconds were signed" not in finding.sentence


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ONBOARDING.body, "the body alone, and not <id>.<timestamp>.<body>"),
        (b"1769069730." + ONBOARDING.body, "<timestamp>.<body>, and not <id>.<timestamp>.<body>"),
        (b"evt_0001." + ONBOARDING.body, "<id>.<body>, and not <id>.<timestamp>.<body>"),
        (b"1769069730.evt_0001." + ONBOARDING.body, "<timestamp>.<id>.<body>, and not"),
        (b"v0:1769069730:" + ONBOARDING.body, "v0:<timestamp>:<body>, and not"),
    ],
)
def test_another_signed_text_is_named(message: bytes, expected: str) -> None:
    """A signature over another text than the sender signs is distinguished from another secret."""
    key = base64.b64decode(key_text(ONBOARDING.secret))
    finding = ONBOARDING.examined(headers=standard_headers(key, message))
    assert finding.kind == "other_text"
    assert expected in finding.sentence


@by_sender(*WHSEC)
def test_old_request_with_another_mistake_has_both(signed: Signed) -> None:
    """The time is no reason why a signature does not match; it is a hint of its own."""
    finding = signed.examined(secret=f"v1,{signed.secret}", now_s=1769069730 + 4_000)
    assert finding.kind == "secret_encoding"
    assert any("its time is also 4000 s away" in hint for hint in finding.hints)
    finding = signed.examined(secret=SENDERS[signed.sender].generate_secret(), now_s=1769069730 + 4_000)
    assert "webhook-signature does not match" in finding.sentence


def test_time_in_the_future_is_not_called_a_repetition() -> None:
    """A recorded request is not of the future: the clock is wrong."""
    finding = ONBOARDING.examined(now_s=1769069730 - 4_000)
    assert finding.kind == "stale"
    assert "the clock of this machine or of the sender may be wrong" in finding.hints[0]


@pytest.mark.parametrize(
    ("sender", "secret", "expected"),
    [
        ("onboarding", "whsec_c2hvcnQ=", "the secret has 5 bytes"),
        ("onboarding", "not a secret!", "the secret has the wrong form"),
        ("riskos", "whsec_***", "not base64"),
    ],
)
def test_text_that_cannot_be_a_secret_is_named(sender: str, secret: str, expected: str) -> None:
    """A text that Signpost refuses as a secret of the sender is no secret of any subscription."""
    finding = ONBOARDING.examined(sender=sender, secret=secret)
    assert finding.kind == "invalid_secret"
    assert expected in finding.sentence


def test_masked_secret_and_id_of_a_secret_have_a_hint() -> None:
    """What is shown in place of a secret looks different from one; this is a hint, not a proof."""
    for secret, expected in (("zenoo-***", "masked"), ("sec_0123456789abcdef", "sec_")):
        finding = ZENOO.examined(secret=secret)
        assert finding.kind == "wrong_secret_or_body"
        assert any(expected in hint for hint in finding.hints)


def test_several_mistakes_are_named_together() -> None:
    """A prefix too many, a changed body and another notation are reported in one sentence."""
    name, value = ONBOARDING.signature
    finding = ONBOARDING.examined(
        secret=f"v1,{ONBOARDING.secret}",
        body=ONBOARDING.body + b"\n",
        headers=ONBOARDING.headers | {name: base64.b64decode(value[3:]).hex()},
    )
    for expected in ("the prefix v1, does not belong", "a line break was added", "is in hex instead of base64"):
        assert expected in finding.sentence


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda public: public.removeprefix("whpk_"), "the prefix whpk_ is missing"),
        (lambda public: f"\ufeff{public}\r\n", "byte order mark"),
        (lambda public: f"v1a,{public}", "the prefix v1a, does not belong before the secret"),
    ],
)
def test_mistakes_with_public_keys_are_named(change: Callable[[str], str], expected: str) -> None:
    """Requests with ed25519 signatures have the same mistakes."""
    sender = SENDERS["standard"]
    private = f"whsk_{base64.b64encode(bytes(range(32))).decode()}"
    lines = sender.signature.lines("evt_1", STANDARD.body, (sender.signing_key(private),), 1769069730)
    headers = dict(line.decode().split(": ", 1) for line in lines)
    signed = Signed("standard", headers, STANDARD.body, public_text(private))
    assert signed.examined().is_genuine
    finding = signed.examined(secret=change(signed.secret))
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence
    assert signed.examined(body=STANDARD.body + b"\n").kind == "changed_body"

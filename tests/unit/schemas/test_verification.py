"""Why a request is not genuine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.senders.sender import Sender, load_senders
from schemas.senders.verification import examine

ZENOO, STANDARD = load_senders()["zenoo"], load_senders()["standard"]
SECRETS = {"zenoo": "a-secret-of-acme-0123456789", "standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
KEY = base64.b64decode(SECRETS["standard"].removeprefix("whsec_"))
NOW = 1_700_000_000
BODY = '{"event_id":"evt_1","data":{"note":"Grüße","amount":1.50,"big":12345678901234567890}}'.encode()


@dataclass(frozen=True)
class Attempt:
    event_type: str = "case.created"
    job_id: str = "job"
    event_id: str = "evt_1"
    customer_id: str = "acme"
    subscription_id: str = "sub"


def request(sender: Sender, body: bytes = BODY, secret: str | None = None, at: int = NOW) -> dict[str, str]:
    """The headers of an attempt."""
    keys = (sender.signing_key(secret or SECRETS[sender.name]),)
    lines = (line.decode().partition(": ") for line in sender.headers(Attempt(), body, keys, at))
    return {name: value for name, _, value in lines}


def found(sender: Sender, body: bytes = BODY, secret: str | None = None, headers: dict[str, str] | None = None):
    given = headers if headers is not None else request(sender)
    return examine(sender, given, body, SECRETS[sender.name] if secret is None else secret, NOW)


@pytest.mark.parametrize("sender", load_senders().values(), ids=lambda sender: sender.name)
def test_what_a_sender_sends_is_genuine(sender):
    """A request of every sender is found genuine with its secret, and one with another secret is not."""
    secret, other = sender.generate_secret(), sender.generate_secret()
    headers = request(sender, secret=secret)
    assert examine(sender, headers, BODY, secret, NOW).is_genuine
    assert examine(sender, headers, BODY, other, NOW).kind == "wrong_secret_or_body"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (f"{SECRETS['standard']}\n", "it begins or ends with a space or a line break"),
        (f'"{SECRETS["standard"]}"', "it is in quotes"),
        (SECRETS["standard"].removeprefix("whsec_"), "the prefix whsec_ is missing"),
        (KEY.hex(), "it is the hex of the key; expected whsec_ and base64"),
        (base64.b64encode(SECRETS["standard"].encode()).decode(), "it is the base64 of the secret"),
        (SECRETS["standard"].replace("_", "%5F"), "it is percent-encoded"),
    ],
)
def test_a_secret_in_the_wrong_form_is_named(secret, expected):
    """The mistakes that people make with a whsec_ secret are told from a wrong secret."""
    finding = found(STANDARD, secret=secret)
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence


@pytest.mark.parametrize(
    ("secret", "given", "expected"),
    [
        ("whsec_c2VjcmV0LXRleHQ=", "c2VjcmV0LXRleHQ=", "the prefix whsec_ is missing"),
        ("c2VjcmV0LXRleHQ=", "secret-text", "it was decoded from base64; use it without decoding"),
        ("secret-text", "c2VjcmV0LXRleHQ=", "it is the base64 of the secret"),
        ("secret-text", "whsec_secret-text", "the prefix whsec_ does not belong to this secret"),
        ("secret-text\n", "secret-text", "the line break at the end belongs to the secret"),
    ],
)
def test_a_secret_that_is_text_is_not_decoded(secret, given, expected):
    """Where the key is the secret as it stands, one that was decoded or cut is named."""
    finding = found(ZENOO, secret=given, headers=request(ZENOO, secret=secret))
    assert finding.kind == "secret_encoding"
    assert expected in finding.sentence


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (SECRETS["standard"].encode(), "as text, with whsec_, base64 not decoded"),
        (SECRETS["standard"].removeprefix("whsec_").encode(), "as text without whsec_, base64 not decoded"),
        (KEY.hex().encode(), "decoded from base64 and encoded in hex"),
    ],
)
def test_who_signs_with_an_undecoded_secret_is_found_out(key, expected):
    """A request that somebody signed with the secret in another form is told from one with another secret."""
    digest = hmac.digest(key, b"evt_1.%d.%b" % (NOW, BODY), hashlib.sha256)
    headers = request(STANDARD) | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
    finding = found(STANDARD, headers=headers)
    assert finding.kind == "key_encoding"
    assert expected in finding.sentence


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda body: body + b"\n", "a line break was added at the end"),
        (lambda body: b"\xef\xbb\xbf" + body, "a byte order mark was added at the start"),
        (lambda body: json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode(), "with"),
        (lambda body: body.replace(b",", b", ").replace(b":", b": "), "with spaces or line breaks (pretty-printed)"),
        (lambda body: json.dumps(json.loads(body), separators=(",", ":")).encode(), "with other escapes"),
        (lambda body: body.decode().encode("cp1252"), "it was converted from UTF-8 to another encoding"),
        (lambda body: body.decode("latin-1").encode(), "UTF-8 was read as Latin-1"),
    ],
)
def test_a_body_that_was_written_anew_is_named(change, expected):
    """Line ends, pretty printing, escapes and encodings: what programs do to a body before it is verified."""
    body = BODY.replace(b"1.50", b"1.5")
    finding = examine(STANDARD, request(STANDARD, body), change(body), SECRETS["standard"], NOW)
    assert finding.kind == "changed_body"
    assert "the secret is right, but the body was changed: " in finding.sentence
    assert expected in finding.sentence


def test_pretty_printing_is_found_whatever_numbers_there_are():
    """Numbers that no library writes back as they were do not hide that only spaces were added."""
    pretty = BODY.replace(b",", b",\n  ")
    assert "pretty-printed" in examine(ZENOO, request(ZENOO), pretty, SECRETS["zenoo"], NOW).sentence


def test_two_mistakes_at_once_are_found():
    """A secret without its prefix and a line's end behind the body, in one sentence."""
    finding = found(STANDARD, BODY + b"\n", SECRETS["standard"].removeprefix("whsec_"))
    assert "the prefix whsec_ is missing" in finding.sentence
    assert "a line break was added at the end" in finding.sentence


@pytest.mark.parametrize(("at", "away"), [(NOW - 301, 301), (NOW + 900, 900)])
def test_a_stale_timestamp_is_told_from_a_wrong_signature(at, away):
    """The signature fits and the time does not; without looking at the time the request is genuine."""
    headers = request(STANDARD, at=at)
    finding = found(STANDARD, headers=headers)
    assert finding.kind == "stale"
    assert f"webhook-timestamp is {away} s away from now; at most 300 are accepted" in finding.sentence
    assert examine(STANDARD, headers, BODY, SECRETS["standard"], None).is_genuine


def test_a_missing_header_is_named_beside_those_that_are_there():
    """A header that the signature needs is named, and names compare without regard to case."""
    headers = {name.upper(): value for name, value in request(STANDARD).items()}
    assert found(STANDARD, headers=headers).is_genuine
    del headers["WEBHOOK-SIGNATURE"]
    finding = found(STANDARD, headers=headers)
    assert finding.kind == "missing_header"
    assert "the header webhook-signature is missing; given headers: CONTENT-TYPE, USER-AGENT, " in finding.sentence


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda value: value.removeprefix("sha256="), "lacks the prefix sha256="),
        (lambda value: "sha256=" + value.removeprefix("sha256=").upper(), "has capital letters"),
        (lambda value: base64.b64encode(bytes.fromhex(value.removeprefix("sha256="))).decode(), "is in base64"),
        (lambda value: f" {value} ", "begins or ends with a space"),
    ],
)
def test_a_signature_in_another_notation_is_named(change, expected):
    """Prefix, case, and base64 in place of hex: right signatures that no receiver takes."""
    headers = request(ZENOO)
    headers["X-Zenoo-Signature"] = change(headers["X-Zenoo-Signature"])
    finding = found(ZENOO, headers=headers)
    assert finding.kind == "signature_notation"
    assert expected in finding.sentence


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (BODY[:-1] + b" }", {}, "it has spaces or line breaks"),
        (BODY[:-3], {}, "it is not JSON"),
        (b"", {}, "it is empty"),
        (BODY.replace(b"evt_1", b"evt_10"), {"Content-Length": str(len(BODY))}, "Content-Length is"),
    ],
)
def test_a_body_that_signpost_cannot_have_sent_was_changed(body, headers, expected):
    """Where nothing fits, a body that is not compact JSON of the announced length was changed for certain."""
    signed = request(ZENOO, secret="another") | headers
    finding = found(ZENOO, body, headers=signed)
    assert finding.kind == "changed_body"
    assert expected in finding.sentence


def test_what_cannot_be_known_is_not_claimed():
    """A changed amount in a body of the right form looks like another secret, and the answer says so."""
    finding = found(ZENOO, BODY.replace(b"1.50", b"9.50"))
    assert finding.kind == "wrong_secret_or_body"
    assert "a signature does not show which" in "".join(finding.hints)


def test_no_answer_repeats_the_secret():
    """Neither a sentence nor a hint holds the secret, in any case."""
    for sender in (ZENOO, STANDARD):
        secret = SECRETS[sender.name]
        for shown in (secret, f"{secret}\n", secret[7:], "x"):
            for body in (BODY, BODY + b"\n", b"x"):
                finding = found(sender, body, shown)
                assert secret[8:] not in finding.sentence + "".join(finding.hints)


@given(st.binary(max_size=60), st.text(max_size=30), st.text(max_size=60), st.integers(0, 4))
def test_hostile_requests_end_in_a_finding(body, secret, value, number):
    """Whatever the body, the secret and the headers hold, there is an answer, and it is not that they are genuine."""
    sender = list(load_senders().values())[number]
    headers = dict.fromkeys(sender.signature.header_names, value)
    assert not examine(sender, headers, body, secret, NOW).is_genuine


@pytest.mark.parametrize("name", ["webhook-timestamp", "content-length"])
def test_a_number_of_any_length_is_a_finding(name):
    """A header of thousands of digits, which is more than a number can have, is told like any other mistake."""
    other = STANDARD.generate_secret()
    assert not found(STANDARD, secret=other, headers=request(STANDARD) | {name: "9" * 5_000}).is_genuine


def test_a_body_of_quotes_is_looked_at_once():
    """A megabyte of escaped quotes takes as long as any other (it took days), and integers of any size are JSON."""
    assert found(ZENOO, b'"' + b'\\"' * 500_000).kind == "changed_body"
    assert found(ZENOO, b"1" * 5_000).kind == "wrong_secret_or_body"


def test_what_is_said_of_a_hostile_request_can_be_shown():
    """Names of headers with control characters, or bytes that are no UTF-8, come out as printable ASCII."""
    sentence = found(ZENOO, headers={"X\udcff\x1b[31m": "1"}).sentence
    assert sentence.isascii()
    assert sentence.isprintable()

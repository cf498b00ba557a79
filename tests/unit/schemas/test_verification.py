"""Diagnosis of requests that fail verification."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.senders.mistakes.json_forms import serialisations
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
    """Return the headers of an attempt."""
    keys = (sender.signing_key(secret or SECRETS[sender.name]),)
    lines = (line.decode().partition(": ") for line in sender.headers(Attempt(), body, keys, at))
    return {name: value for name, _, value in lines}


def found(sender: Sender, body: bytes = BODY, secret: str | None = None, headers: dict[str, str] | None = None):
    given = headers if headers is not None else request(sender)
    return examine(sender, given, body, SECRETS[sender.name] if secret is None else secret, NOW)


@pytest.mark.parametrize("sender", load_senders().values(), ids=lambda sender: sender.name)
def test_request_of_every_sender_is_genuine(sender):
    """A request is genuine with the sender's secret, and not with another one."""
    secret, other = sender.generate_secret(), sender.generate_secret()
    headers = request(sender, secret=secret)
    assert examine(sender, headers, BODY, secret, NOW).is_genuine
    assert examine(sender, headers, BODY, other, NOW).kind == "wrong_secret_or_body"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (f"{SECRETS['standard']}\n", "it ends with a line break (\\n)"),
        (f'"{SECRETS["standard"]}"', "it is in quotes"),
        (SECRETS["standard"].removeprefix("whsec_"), "the prefix whsec_ is missing"),
        (KEY.hex(), "it is the hex of the key; expected whsec_ and base64"),
        (base64.b64encode(SECRETS["standard"].encode()).decode(), "it is the base64 of the secret"),
        (SECRETS["standard"].replace("_", "%5F"), "it is percent-encoded"),
    ],
)
def test_secret_in_the_wrong_form_is_identified(secret, expected):
    """Common mistakes with a whsec_ secret are distinguished from a wrong secret."""
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
def test_decoded_or_cut_text_secret_is_identified(secret, given, expected):
    """If the key is the text of the secret, a decoded or cut secret is identified."""
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
def test_signature_with_an_undecoded_secret_is_identified(key, expected):
    """A request signed with another form of the secret is distinguished from one with another secret."""
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
def test_reencoded_body_is_identified(change, expected):
    """Line ends, pretty printing, escapes and encodings are changes that programs make before verification."""
    body = BODY.replace(b"1.50", b"1.5")
    finding = examine(STANDARD, request(STANDARD, body), change(body), SECRETS["standard"], NOW)
    assert finding.kind == "changed_body"
    assert "the secret is right, but the body was changed: " in finding.sentence
    assert expected in finding.sentence


def test_pretty_printing_is_identified_with_any_numbers():
    """Numbers that no library writes back unchanged do not hide that only spaces were added."""
    pretty = BODY.replace(b",", b",\n  ")
    assert "pretty-printed" in examine(ZENOO, request(ZENOO), pretty, SECRETS["zenoo"], NOW).sentence


def test_two_mistakes_are_identified_together():
    """A missing prefix and a line break after the body are reported in one sentence."""
    finding = found(STANDARD, BODY + b"\n", SECRETS["standard"].removeprefix("whsec_"))
    assert "the prefix whsec_ is missing" in finding.sentence
    assert "a line break was added at the end" in finding.sentence


@pytest.mark.parametrize(("at", "away"), [(NOW - 301, 301), (NOW + 900, 900)])
def test_stale_timestamp_is_distinguished_from_wrong_signature(at, away):
    """The signature fits and the time does not; without a time check the request is genuine."""
    headers = request(STANDARD, at=at)
    finding = found(STANDARD, headers=headers)
    assert finding.kind == "stale"
    assert f"webhook-timestamp is {away} s away from now; at most 300 are accepted" in finding.sentence
    assert examine(STANDARD, headers, BODY, SECRETS["standard"], None).is_genuine


def test_missing_header_is_named_with_the_present_ones():
    """A missing header of the signature is named, and header names are case-insensitive."""
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
def test_signature_in_another_notation_is_identified(change, expected):
    """Wrong prefix, case or encoding: right signatures in a form that no receiver accepts."""
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
def test_body_that_signpost_cannot_send_was_changed(body, headers, expected):
    """If nothing fits, a body that is not compact JSON of the announced length was certainly changed."""
    signed = request(ZENOO, secret="another") | headers
    finding = found(ZENOO, body, headers=signed)
    assert finding.kind == "changed_body"
    assert expected in finding.sentence


def test_ambiguous_failure_is_reported_as_ambiguous():
    """A changed amount in a body of the right form looks like another secret, and a hint says so."""
    finding = found(ZENOO, BODY.replace(b"1.50", b"9.50"))
    assert finding.kind == "wrong_secret_or_body"
    assert "a signature does not show which" in "".join(finding.hints)


def test_findings_hold_no_secret():
    """Neither a sentence nor a hint repeats the secret."""
    for sender in (ZENOO, STANDARD):
        secret = SECRETS[sender.name]
        for shown in (secret, f"{secret}\n", secret[7:], "x"):
            for body in (BODY, BODY + b"\n", b"x"):
                finding = found(sender, body, shown)
                assert secret[8:] not in finding.sentence + "".join(finding.hints)


@given(st.binary(max_size=60), st.text(max_size=30), st.text(max_size=60), st.integers(0, 4))
def test_hostile_requests_give_a_finding(body, secret, value, number):
    """Any body, secret and headers give a finding, which is never genuine."""
    sender = list(load_senders().values())[number]
    headers = dict.fromkeys(sender.signature.header_names, value)
    assert not examine(sender, headers, body, secret, NOW).is_genuine


@pytest.mark.parametrize("name", ["webhook-timestamp", "content-length"])
def test_header_with_thousands_of_digits_gives_a_finding(name):
    """A number that is too long to convert is reported like any other mistake."""
    other = STANDARD.generate_secret()
    assert not found(STANDARD, secret=other, headers=request(STANDARD) | {name: "9" * 5_000}).is_genuine


def test_body_of_quotes_is_read_once():
    """A megabyte of escaped quotes takes linear time, and integers of any size are JSON."""
    assert found(ZENOO, b'"' + b'\\"' * 500_000).kind == "changed_body"
    assert found(ZENOO, b"1" * 5_000).kind == "wrong_secret_or_body"


def test_finding_of_a_hostile_request_is_printable():
    """Control characters and invalid UTF-8 in header names become printable ASCII."""
    sentence = found(ZENOO, headers={"X\udcff\x1b[31m": "1"}).sentence
    assert sentence.isascii()
    assert sentence.isprintable()


@pytest.mark.parametrize("inner", ["1", "1e400", "7" * 5_000])
def test_form_of_a_body_of_any_depth_is_recognized(inner: str) -> None:
    """A pretty-printed body is recognized, whatever its depth and numbers."""
    deep = '{"a":' + "[" * 3_000 + inner + "]" * 3_000 + "}"
    (how, bare), *_ = serialisations(deep.replace(":", ": "))
    assert (how, bare) == ("it was re-serialized with spaces or line breaks (pretty-printed)", deep)
    assert [how for how, _ in serialisations(deep) if "pretty-printed" in how] == []

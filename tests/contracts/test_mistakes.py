"""`signpost verify` names usual mistakes with requests of the contracts' vectors, of every sender."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import pytest

from schemas.senders.verification import Finding, examine
from tests.contracts.senders import SENDERS, VECTORS


class Signed(NamedTuple):
    """A genuine request."""

    sender: str
    headers: dict[str, str]
    body: bytes
    secret: str

    def examined(self, now_s: int | None = None, **changes: Any) -> Finding:
        """Return the finding of the request with other headers, another body or another secret."""
        one = self._replace(**changes)
        return examine(SENDERS[one.sender], one.headers, one.body, one.secret, now_s)

    @property
    def signature(self) -> tuple[str, str]:
        """Name and value of the header with the signature."""
        name = SENDERS[self.sender].signature.header_names[-1]
        return name, self.headers[name]


def of_vector(sender: str, list_: str, name: str) -> Signed:
    vector = next(vector for vector in VECTORS[list_] if vector["name"] == name)
    secret = vector.get("secret") or vector["secrets"][0]
    return Signed(sender, dict(vector["headers"]), vector["body"].encode(), secret)


ZENOO: Final = of_vector("zenoo", "zenoo", "non_ascii_utf8")
DILIGENT: Final = of_vector("diligent", "diligent", "flow_run_failed")
ONBOARDING: Final = of_vector("onboarding", "onboarding", "document_example_secret")
RISKOS: Final = of_vector("riskos", "onboarding", "shortest_key_24_bytes")
STANDARD: Final = of_vector("standard", "onboarding", "padded_key_25_bytes")
TEXT: Final = (ZENOO, DILIGENT)
WHSEC: Final = (ONBOARDING, RISKOS, STANDARD)
ALL: Final = (*TEXT, *WHSEC)


def by_sender(*requests: Signed) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("signed", requests, ids=lambda signed: signed.sender)


def hex_signature(key: bytes, message: bytes) -> str:
    return "sha256=" + hmac.new(key, message, hashlib.sha256).hexdigest()


def standard_headers(key: bytes, message: bytes, id_: str = "evt_0001", time: str = "1769069730") -> dict[str, str]:
    digest = hmac.new(key, message, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": id_, "webhook-timestamp": time, "webhook-signature": signature}


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
    """White space that was written into a secret signs as well: the clean secret is named as incomplete."""
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


def key_text(secret: str) -> str:
    text = secret.removeprefix("whsec_")
    return text + "=" * (-len(text) % 4)


def test_padding_and_alphabet_of_a_whsec_secret_are_named() -> None:
    """Padding is optional; too much of it and the URL-safe alphabet are named."""
    assert STANDARD.examined(secret=STANDARD.secret.rstrip("=")).is_genuine
    finding = ONBOARDING.examined(secret=f"{ONBOARDING.secret}===")
    assert "its padding (=) is wrong" in finding.sentence
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


def as_json(body: bytes, **options: Any) -> bytes:
    return json.dumps(json.loads(body), **options).encode()


CHANGES: Final[Mapping[str, tuple[Callable[[bytes], bytes], str]]] = {
    "line break": (lambda body: body + b"\n", "a line break was added at the end"),
    "CR LF": (lambda body: body + b"\r\n", "a line break was added at the end"),
    "white space": (lambda body: body + b" \n\n", "spaces or line breaks were added at the end"),
    "before": (lambda body: b"\n  " + body, "spaces or line breaks were added at the start"),
    "BOM": (lambda body: b"\xef\xbb\xbf" + body, "a byte order mark was added at the start"),
    "BOM and line break": (lambda body: b"\xef\xbb\xbf" + body + b"\r\n", "a byte order mark was added at the start"),
    "pretty with a line break": (
        lambda body: as_json(body, indent=2, ensure_ascii=False) + b"\n",
        "spaces or line breaks were added at its start or end; it was re-serialized with spaces",
    ),
    "pretty": (lambda body: as_json(body, indent=2, ensure_ascii=False), "(pretty-printed)"),
    "pretty with CR LF": (
        lambda body: as_json(body, indent=2, ensure_ascii=False).replace(b"\n", b"\r\n"),
        "(pretty-printed)",
    ),
    "spaces": (lambda body: as_json(body, ensure_ascii=False), "(pretty-printed)"),
    "spaces and escapes": (as_json, "it was re-serialized"),
    "UTF-16": (lambda body: body.decode().encode("utf-16"), "it was converted from UTF-8 to UTF-16"),
    "base64": (base64.b64encode, "it was encoded in base64"),
    "hex": (lambda body: body.hex().encode(), "it was encoded in hex"),
    "JSON string": (lambda body: json.dumps(body.decode()).encode(), "it was written as a JSON string"),
    "escaped": (lambda body: json.dumps(body.decode())[1:-1].encode(), "it was written as a JSON string"),
    "Python bytes": (lambda body: repr(body).encode(), "it is printed bytes of Python"),
    "Python dict": (lambda body: repr(json.loads(body)).encode(), "it is a printed dict of Python"),
    "Buffer": (
        lambda body: json.dumps({"type": "Buffer", "data": list(body)}).encode(),
        "it is a Buffer of Node.js as JSON",
    ),
    "printed Buffer": (
        lambda body: b"<Buffer " + body.hex(" ").encode() + b">",
        "it is a printed Buffer of Node.js",
    ),
    "wrapped": (
        lambda body: b'{"id":"1","body":' + json.dumps(body.decode()).encode() + b"}",
        "it is inside of another JSON object",
    ),
    "form": (lambda body: b"payload=" + percent(body), "it was encoded as a form field"),
    "HTML": (lambda body: body.replace(b'"', b"&quot;"), "its characters were replaced by HTML entities"),
}


def percent(body: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in body)


@by_sender(*ALL)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_body_is_named(signed: Signed, change: str) -> None:
    """What frameworks, editors and proxies do to a body is named, and the right secret is called right."""
    changed, expected = CHANGES[change]
    finding = signed.examined(body=changed(signed.body))
    assert finding.kind == "changed_body"
    assert finding.sentence.startswith("not genuine: the secret is right, but the body was changed: ")
    assert expected in finding.sentence


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (as_json(ZENOO.body, separators=(",", ":")), "with other escapes"),
        (ZENOO.body.decode("latin-1").encode(), "read as Latin-1"),
        (unicodedata.normalize("NFD", ZENOO.body.decode()).encode(), "composed in another way"),
    ],
)
def test_changed_letters_of_a_body_are_named(changed: bytes, expected: str) -> None:
    """Escapes, encodings and Unicode forms change the bytes of a body, but not its meaning."""
    finding = ZENOO.examined(body=changed)
    assert finding.kind == "changed_body"
    assert expected in finding.sentence


def test_order_of_keys_is_restored_by_the_schema() -> None:
    """JSON libraries that sort keys change a body; the sender's schema has the original order."""
    for indent in (None, 2):
        changed = as_json(ZENOO.body, sort_keys=True, indent=indent, ensure_ascii=False)
        finding = ZENOO.examined(body=changed)
        assert finding.kind == "changed_body"
        assert "its keys in another order" in finding.sentence


def test_vectors_with_spaces_are_genuine_and_pretty_printing_is_only_claimed_with_proof() -> None:
    """A signature over a body with spaces is genuine. With another secret, nobody knows whether spaces were added."""
    signed = of_vector("diligent", "diligent", "alert_remediated_non_ascii")
    pretty = as_json(signed.body, indent=2, ensure_ascii=False)
    headers = {"X-Signature": hex_signature(signed.secret.encode(), pretty)}
    assert signed.examined(headers=headers, body=pretty).is_genuine
    finding = signed.examined(headers=headers, body=pretty, secret="another-secret")
    assert finding.kind == "wrong_secret_or_body"
    assert any("its publisher may have written them, or a program may have" in hint for hint in finding.hints)
    with_length = headers | {"Content-Length": str(len(pretty))}
    finding = signed.examined(headers=with_length, body=pretty, secret="another-secret")
    assert "probably another secret" in finding.sentence


def test_spaces_that_signpost_does_not_write_are_a_reason() -> None:
    """Signpost writes all JSON of zenoo and the envelopes of the others, without spaces."""
    for signed, body in (
        (ZENOO, as_json(ZENOO.body, indent=2)),
        (STANDARD, b'{ "type":"a","timestamp":"b","data":{}}'),
        (RISKOS, as_json(RISKOS.body, indent=2)),
    ):
        finding = signed.examined(body=body, secret=SENDERS[signed.sender].generate_secret())
        assert finding.kind == "changed_body"
        assert "Signpost cannot have sent this body: it has spaces or line breaks" in finding.sentence
    data = b'{"type":"order.paid","timestamp":"2026-11-30T03:51:41.579596Z","data":{\n  "order": 7\n}}'
    finding = STANDARD.examined(body=data, secret=SENDERS["standard"].generate_secret())
    assert finding.kind == "wrong_secret_or_body"


def test_text_in_place_of_a_body_is_a_reason() -> None:
    """`[object Object]`, an empty body and a cut one cannot come from Signpost."""
    other = SENDERS["zenoo"].generate_secret()
    for body, expected in (
        (b"[object Object]", "[object Object]"),
        (b"", "it is empty"),
        (ZENOO.body[:-20], "it is not JSON"),
    ):
        finding = ZENOO.examined(body=body, secret=other)
        assert "Signpost cannot have sent this body: it is" in finding.sentence
        assert expected in finding.sentence


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

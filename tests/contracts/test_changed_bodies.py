"""`signpost verify` names what changes a body, with requests of the contracts' vectors, of every sender."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from tests.contracts.senders import SENDERS
from tests.contracts.signed import ALL, RISKOS, STANDARD, ZENOO, Signed, by_sender, hex_signature, of_vector


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

"""Zenoo webhooks: signature and headers."""

from __future__ import annotations

import hmac
import re
from importlib import metadata
from typing import Any

import pytest

from schemas.catalog.errors import InvalidInput
from schemas.senders.signing import HmacSha256Hex
from tests.contracts.zenoo import VECTORS, ZENOO
from tests.support.attempts import headers_of

BODY = b'{"event_id":"evt_001"}'
SECRET = "zenoo-test-secret-0123456789"


def documented_receiver(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Verify with the contract's receiver code: compare the expected value with the whole header."""
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), body, "sha256").hexdigest()
    return hmac.compare_digest(expected, headers["X-Zenoo-Signature"])


@pytest.mark.parametrize("vector", VECTORS["zenoo"], ids=lambda vector: vector["name"])
@pytest.mark.decision("Z11")
def test_signature_is_that_of_the_vector(vector: dict[str, Any]):
    """The secret and body of each vector give its header value, whatever the secret begins with."""
    body = vector["body"].encode()
    assert len(body) == vector["body_length"]
    headers = headers_of(ZENOO, body, vector["secret"])
    assert headers["X-Zenoo-Signature"] == vector["headers"]["X-Zenoo-Signature"]
    assert ZENOO.verify(headers, body, vector["secret"]) is None


def test_scheme_gives_the_signature_that_github_published():
    """The same scheme under another header name gives the value of GitHub's documentation."""
    (vector,) = (v for v in VECTORS["reference"] if v["name"] == "published_github")
    scheme = HmacSha256Hex(
        scheme="hmac_sha256_hex", header="X-Hub-Signature-256", prefix="sha256=", secret="utf8", required=True
    )
    (line,) = scheme.lines("", vector["body"].encode(), [scheme.signing_key(vector["secret"])], 0)
    assert line.decode() == f"X-Hub-Signature-256: {vector['headers']['X-Hub-Signature-256']}"


@pytest.mark.decision("Z16")
def test_headers_are_content_type_user_agent_and_signature():
    """The request has three headers, spelled as documented, with the version of the package."""
    assert list(headers_of(ZENOO, BODY, SECRET)) == ["Content-Type", "User-Agent", "X-Zenoo-Signature"]
    assert headers_of(ZENOO, BODY, SECRET)["Content-Type"] == "application/json"
    assert headers_of(ZENOO, BODY, SECRET)["User-Agent"] == f"Signpost/{metadata.version('kafka-signpost')}"


@pytest.mark.decision("Z12")
def test_only_the_newest_secret_signs_after_a_rotation():
    """The header has one signature, by the first key, because receivers compare the whole value."""
    headers = headers_of(ZENOO, BODY, "new", "old")
    assert documented_receiver(headers, BODY, "new")
    assert not documented_receiver(headers, BODY, "old")
    assert re.fullmatch("sha256=[0-9a-f]{64}", headers["X-Zenoo-Signature"])


@pytest.mark.decision("Z13")
def test_secrets_are_required_and_can_be_generated():
    """A subscription needs a secret. Generated secrets are long and differ."""
    assert ZENOO.needs_secret
    secrets = {ZENOO.generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) >= 43 and ZENOO.signing_key(secret) for secret in secrets)


@pytest.mark.decision("Z14")
def test_signature_does_not_cover_a_time():
    """The same body has the same headers a day later: receivers recognise repeats only by event_id."""
    assert headers_of(ZENOO, BODY, SECRET) == headers_of(ZENOO, BODY, SECRET, now_s=1_771_322_460)


@pytest.mark.decision("Z11")
@pytest.mark.parametrize("secret", ["", "half a surrogate \ud800"])
def test_invalid_secret_is_refused_without_being_shown(secret):
    """An empty secret, and one that UTF-8 cannot encode, are refused."""
    with pytest.raises(InvalidInput) as refusal:
        ZENOO.signing_key(secret)
    assert "surrogate \\ud800" not in str(refusal.value)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, BODY, "the header X-Zenoo-Signature is missing"),
        ({"X-Zenoo-Signature": "sha256=00"}, BODY, "X-Zenoo-Signature does not match the body and the secret"),
        ({"X-Zenoo-Signature": "šha256=00"}, BODY, "X-Zenoo-Signature does not match the body and the secret"),
        (headers_of(ZENOO, BODY, SECRET), BODY + b"\n", "X-Zenoo-Signature does not match the body and the secret"),
        (headers_of(ZENOO, BODY, "another"), BODY, "X-Zenoo-Signature does not match the body and the secret"),
    ],
)
def test_request_that_is_not_genuine_has_a_reason(headers, body, expected):
    """A missing, wrong or foreign signature and a changed body are refused."""
    assert ZENOO.verify(headers, body, SECRET) == expected


def test_header_names_are_case_insensitive():
    """A proxy that lowercases header names does not make a request unverifiable."""
    lowercase = {name.lower(): value for name, value in headers_of(ZENOO, BODY, SECRET).items()}
    assert ZENOO.verify(lowercase, BODY, SECRET) is None

"""Standard Webhooks 1.0.0: any conforming receiver verifies requests of onboarding, riskos and standard."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pytest
from standardwebhooks import Webhook

from schemas.avro.json_tokens import half_surrogate_problem
from schemas.catalog.errors import InvalidInput
from schemas.senders.sender import Sender
from schemas.senders.signing import hmac_key
from schemas.senders.standard_webhooks import public_text
from tests.contracts.official import deliveries, verified_by_npm
from tests.contracts.senders import SENDERS, VECTORS, WHSEC
from tests.support.attempts import Attempted, headers_of
from tests.support.parts import need

STANDARD, ONBOARDING, RISKOS = (SENDERS[name] for name in ("standard", "onboarding", "riskos"))
OLD = "whsec_wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w=="
BODY = b'{"type":"invoice.paid"}'
NOW_S = 1_771_236_060
# The v1a vector of the reference implementation: private key, public key, signature.
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="


def webhook_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("webhook-")}


@pytest.mark.decision("O7", "O8", "O10", "R5")
@pytest.mark.parametrize("sender", [ONBOARDING, RISKOS, STANDARD], ids=lambda sender: sender.name)
@pytest.mark.parametrize("vector", VECTORS["onboarding"], ids=lambda vector: vector["name"])
def test_signature_is_that_of_the_vector(sender: Sender, vector: dict[str, Any]) -> None:
    """The secrets, id, time and body of each vector, the published one included, give its three headers."""
    body = vector["body"].encode()
    assert len(body) == vector["body_length"]
    job = Attempted(event_id=vector["id"])
    headers = headers_of(sender, body, *vector["secrets"], now_s=vector["timestamp"], job=job)
    assert webhook_headers(headers) == vector["headers"]
    assert all(sender.verify(headers, body, secret) is None for secret in vector["secrets"])


def test_asymmetric_signature_is_the_published_one() -> None:
    """An ed25519 key gives the published v1a signature, and its public key verifies it."""
    body = b'{"test": 2432232314}'
    job = Attempted(event_id="msg_p5jXN8AQM9LWM0D4loKWxJek")
    headers = headers_of(STANDARD, body, PRIVATE, now_s=1_614_265_330, job=job)
    assert headers["webhook-signature"] == SIGNATURE
    assert public_text(PRIVATE) == PUBLIC
    assert STANDARD.verify(headers, body, PUBLIC) is None
    assert STANDARD.verify(headers, body + b" ", PUBLIC) is not None


def test_published_example_with_a_short_key_has_the_published_signature() -> None:
    """A vendor's example with a key of 18 bytes has the published signature. Subscriptions may not have such keys."""
    key = hmac_key("v1", base64.b64decode("plJ3nmyCDGBKInavdOK15jsl"))
    body = b'{"event_type":"ping","data":{"success":true}}'
    lines = STANDARD.signature.lines("msg_loFOjxBNrRLzqYUf", body, [key], 1_731_705_121)
    assert lines[-1] == b"webhook-signature: v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_seed_alone_is_the_same_private_key() -> None:
    """A whsk_ secret of 32 bytes signs like one of 64 bytes, which also contains the public key."""
    seed = "whsk_" + base64.b64encode(base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]).decode()
    assert headers_of(STANDARD, BODY, seed) == headers_of(STANDARD, BODY, PRIVATE)


@pytest.mark.decision("O35")
def test_during_a_rotation_all_secrets_sign() -> None:
    """One header has the signatures of all secrets, symmetric and asymmetric, the newest first."""
    headers = headers_of(STANDARD, BODY, PRIVATE, WHSEC, OLD)
    versions = [part.partition(",")[0] for part in headers["webhook-signature"].split(" ")]
    assert versions == ["v1a", "v1", "v1"]
    assert all(STANDARD.verify(headers, BODY, secret) is None for secret in (PUBLIC, WHSEC, OLD))


@pytest.mark.decision("O9")
def test_generated_secret_is_as_long_as_the_document_shows() -> None:
    """Generated secrets differ: whsec_ and 52 characters of base64 without padding. standard generates 32 bytes."""
    secrets = {ONBOARDING.generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{52}", secret) and len(secret) == len(WHSEC) for secret in secrets)
    assert len(base64.b64decode(STANDARD.generate_secret().removeprefix("whsec_"))) == 32


@pytest.mark.decision("O9")
@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "wrong form"),
        ("not-a-whsec", "wrong form"),
        ("whsec_", "has 0 bytes"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "has 23 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "has 65 bytes"),
        ("whsec_" + "-_" * 20, "standard alphabet"),
        ("whsec_schlüssel", "standard alphabet"),
        (PUBLIC, "a public key"),
        (PRIVATE[:-4], "private key has"),
        (PRIVATE[:-8] + "AAAAAA==", "does not belong to it"),
    ],
)
def test_invalid_secret_is_refused_without_being_shown(secret: str, problem: str) -> None:
    """A secret is 24 to 64 bytes after whsec_, or an ed25519 private key after whsk_. The error shows none of it."""
    with pytest.raises(InvalidInput) as refusal:
        STANDARD.signing_key(secret)
    assert problem in str(refusal.value)
    assert secret in {"", "whsec_"} or secret not in str(refusal.value)


@pytest.mark.decision("O8", "R5")
def test_products_with_hmac_only_refuse_a_private_key() -> None:
    """onboarding and riskos sign only v1 and refuse a whsk_ secret."""
    for sender in (ONBOARDING, RISKOS):
        with pytest.raises(InvalidInput, match="whsec_"):
            sender.signing_key(PRIVATE)


@pytest.mark.decision("R5", "R20", "O37")
def test_sender_without_a_secret_adds_no_signature() -> None:
    """Without a secret riskos sends no webhook-* header, and an unsigned Onboarding test has id and time."""
    assert webhook_headers(headers_of(RISKOS, BODY)) == {}
    assert list(headers_of(RISKOS, BODY)) == ["Content-Type", "User-Agent"]
    assert list(webhook_headers(headers_of(ONBOARDING, BODY))) == ["webhook-id", "webhook-timestamp"]
    assert (RISKOS.needs_secret, ONBOARDING.needs_secret, STANDARD.needs_secret) == (False, True, True)


@pytest.mark.decision("O10", "R10")
@pytest.mark.parametrize("event_id", ["evt.1", "a b", "x" * 129, "né", "evt_1\r\nX: y", ""])
def test_id_that_no_header_can_hold_is_sent_as_its_uuid5(event_id: str) -> None:
    """An id of over 128 characters, or with others than letters, digits, _ and -, is always sent as the same uuid5."""
    webhook_id = headers_of(STANDARD, BODY, WHSEC, job=Attempted(event_id=event_id))["webhook-id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", webhook_id)
    assert webhook_id == headers_of(ONBOARDING, BODY, OLD, job=Attempted(event_id=event_id), now_s=1)["webhook-id"]
    assert headers_of(STANDARD, BODY, WHSEC, job=Attempted(event_id="x" * 128))["webhook-id"] == "x" * 128


@pytest.mark.parametrize(
    ("change", "now_s", "problem"),
    [
        ({"webhook-id": None}, None, "the header webhook-id is missing"),
        ({"webhook-signature": None}, None, "the header webhook-signature is missing"),
        ({"webhook-timestamp": "now"}, None, "not a number of Unix seconds"),
        ({}, NOW_S + 301, "301 s away from now"),
        ({}, NOW_S - 301, "301 s away from now"),
        ({"webhook-signature": "v2,abc"}, None, "no v1 signature"),
        ({"webhook-signature": "v1,šbc"}, None, "does not match"),
        ({"webhook-id": "evt_002"}, None, "does not match"),
        ({"webhook-timestamp": str(NOW_S + 1)}, None, "does not match"),
        ({}, NOW_S + 300, None),
    ],
)
def test_request_that_is_not_genuine_has_a_reason(change, now_s, problem) -> None:
    """A missing or changed header, and an old timestamp, are each named."""
    headers = {k: v for k, v in (headers_of(STANDARD, BODY, WHSEC, now_s=NOW_S) | change).items() if v is not None}
    found = STANDARD.verify(headers, BODY, WHSEC, now_s)
    if problem is None:
        assert found is None
    else:
        assert problem in (found or "")


def test_official_python_library_verifies_a_thousand_deliveries() -> None:
    """The library accepts bodies with any text, ids of any form, and one or two secrets of 24 to 64 bytes."""
    now_s = int(time.time())
    for delivery in deliveries(1_000, now_s):
        assert half_surrogate_problem(delivery.body.decode()) is None
        assert Webhook(delivery.secret).verify(delivery.body, delivery.headers) == json.loads(delivery.body)


def test_official_javascript_library_verifies_a_thousand_deliveries() -> None:
    """The npm package accepts the same deliveries."""
    need("node")
    assert verified_by_npm(deliveries(1_000, int(time.time()))) == {"genuine": 1_000, "problem": None}

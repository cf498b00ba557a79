"""Endpoints are decoded from subscription records: settings, secrets, headers, client certificates."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from consumers.delivery.delay_topics import Schedule
from consumers.delivery.endpoint import Endpoint, endpoints_of
from schemas.catalog.errors import SealBroken, UnreadableRecord
from schemas.input.durations import milliseconds
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.sealing import Sealer, header_place, key_place
from schemas.subscriptions.subscription import (
    ClientCertificate,
    FormerSecret,
    SealedHeader,
    SealedSecret,
    Subscription,
    encode_subscription,
)
from tests.unit.schemas.test_record_versions import PLAIN

TOPIC = "signpost.subscriptions"
SEALER = Sealer([bytes(32)])
SENDER = load_senders()["zenoo"]


def seal(text: str, place: str) -> bytes:
    return SEALER.seal(text, topic=TOPIC, subscription_id=PLAIN.id, secret_id=place)


def header(name: str, value: str) -> SealedHeader:
    return SealedHeader(name, "hdr_1", seal(value, header_place(name, "hdr_1")))


SIGNED = replace(PLAIN, secrets=(SealedSecret("sec_1", seal("the secret", "sec_1"), 1_000),))


def endpoint(subscription: Subscription) -> Endpoint:
    interpret = endpoints_of(load_senders(), EgressPolicy(), SEALER, TOPIC, 1)
    return interpret(0, 0, subscription.id, encode_subscription(subscription))


def test_settings_of_the_sender_are_defaults():
    """Without settings of its own a subscription has the schedule and timeout of its sender, and nothing else."""
    found = endpoint(SIGNED)
    assert (found.schedule, found.timeout_ms) == (Schedule.of(SENDER.schedule, 1), milliseconds(SENDER.timeout))
    assert (found.header_lines, found.max_in_flight, found.rate_limit) == ((), None, None)
    assert (found.client_certificate, found.secrets) == (None, (b"the secret",))


def test_settings_of_the_subscription_replace_defaults():
    """Schedule, timeout and limits are those of the record, even if the schedule is empty."""
    found = endpoint(replace(SIGNED, schedule_s=(5, 60), timeout_s=7, max_in_flight=2, rate_limit=0.5))
    assert found.schedule == Schedule((5_000, 60_000))
    assert (found.timeout_ms, found.max_in_flight, found.rate_limit) == (7_000, 2, 0.5)
    assert endpoint(replace(SIGNED, schedule_s=())).schedule == Schedule(())


@pytest.mark.promise(6)
@pytest.mark.decision("R6")
def test_headers_are_unsealed_and_masked():
    """A header is sent as it is. Its value is masked, and so are the credentials after the scheme of Authorization."""
    found = endpoint(
        replace(SIGNED, headers=(header("Authorization", "Bearer canary-12345"), header("X-Region", "eu")))
    )
    assert found.header_lines == (b"Authorization: Bearer canary-12345", b"X-Region: eu")
    assert found.secrets == (b"Bearer canary-12345", b"canary-12345", b"the secret")
    assert "canary" not in repr(found)


@pytest.mark.promise(6)
def test_json_escaped_secrets_are_masked():
    """Values are masked even if an endpoint echoes its request as JSON, with escaped quotes and slashes."""
    value = 'tok/en+9876"x=='
    found = endpoint(replace(SIGNED, headers=(header("Authorization", value),)))
    for echo in (json.dumps(value), json.dumps(value).replace("/", "\\/")):
        assert any(secret in echo.encode() for secret in found.secrets), echo


def test_former_secret_signs_until_it_expires():
    """During a rotation both keys sign, the newest first. After its end only the new one signs."""
    former = FormerSecret("sec_0", seal("the old one", "sec_0"), 500, until_ms=9_000)
    found = endpoint(replace(SIGNED, former_secrets=(former,)))
    newest, old = (SENDER.signing_key(secret).sign(b"body") for secret in ("the secret", "the old one"))
    assert [key.sign(b"body") for key in found.keys_at(8_999)] == [newest, old]
    assert [key.sign(b"body") for key in found.keys_at(9_000)] == [newest]
    assert set(found.secrets) == {b"the secret", b"the old one"}


def test_client_certificate_is_unsealed():
    """The private key is unsealed, and the repr of the endpoint does not show it."""
    shown = ClientCertificate("CERTIFICATE", "crt_1", seal("canary-key", key_place("crt_1")))
    found = endpoint(replace(SIGNED, client_certificate=shown)).client_certificate
    assert found is not None
    assert (found.certificate, found.key) == (b"CERTIFICATE", b"canary-key")
    assert "canary" not in repr(found)


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "a\r\nHost: b"), ("X-A", "a\x00"), ("X-A: b", "c"), ("host", "a"), ("Connection", "close")],
)
def test_invalid_header_makes_a_record_unusable(name, value):
    """A record that bypassed the writer is unusable if a header of it could break the request."""
    with pytest.raises(UnreadableRecord, match="a header that may not be sent"):
        endpoint(replace(SIGNED, headers=(header(name, value),)))


@pytest.mark.promise(6)
@pytest.mark.parametrize(
    "moved",
    [
        {"headers": (SealedHeader("X-Told", "sec_1", SIGNED.secrets[0].sealed),)},
        {"headers": (replace(header("Authorization", "canary"), name="X-Told"),)},
        {"client_certificate": ClientCertificate("CERTIFICATE", "sec_1", SIGNED.secrets[0].sealed)},
    ],
)
def test_sealed_value_cannot_be_moved_to_another_place(moved):
    """Write access to the topic does not suffice to send a secret as a header, or a header under another name."""
    with pytest.raises(SealBroken):
        endpoint(replace(SIGNED, **moved))


@pytest.mark.parametrize(
    "setting",
    [
        {"rate_limit": 0.0},
        {"rate_limit": -1.0},
        {"rate_limit": math.nan},
        {"rate_limit": math.inf},
        {"rate_limit": 5e-324},
        {"schedule_s": (60, -1)},
        {"schedule_s": (2**62,)},
        {"timeout_s": 0},
        {"max_in_flight": 0},
        {"max_in_flight": -5},
    ],
    ids=str,
)
def test_numbers_out_of_bounds_make_a_record_unusable(setting: dict[str, Any]):
    """Invalid numbers in a record make it unusable. They do not end the process."""
    with pytest.raises(UnreadableRecord, match=f"{next(iter(setting))} is out of bounds"):
        endpoint(replace(SIGNED, **setting))

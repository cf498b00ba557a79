"""What a subscription's record means to delivery."""

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


def test_without_settings_of_its_own_the_sender_s_hold():
    """Schedule and timeout are the sender's; there are no headers, limits and certificate."""
    found = endpoint(SIGNED)
    assert (found.schedule, found.timeout_ms) == (Schedule.of(SENDER.schedule, 1), milliseconds(SENDER.timeout))
    assert (found.header_lines, found.max_in_flight, found.rate_limit) == ((), None, None)
    assert (found.client_certificate, found.secrets) == (None, (b"the secret",))


def test_a_subscription_s_own_settings_hold():
    """Schedule, timeout and limits are taken from the record, an empty schedule too."""
    found = endpoint(replace(SIGNED, schedule_s=(5, 60), timeout_s=7, max_in_flight=2, rate_limit=0.5))
    assert found.schedule == Schedule((5_000, 60_000))
    assert (found.timeout_ms, found.max_in_flight, found.rate_limit) == (7_000, 2, 0.5)
    assert endpoint(replace(SIGNED, schedule_s=())).schedule == Schedule(())


@pytest.mark.promise(6)
@pytest.mark.decision("R6")
def test_headers_are_opened_and_kept_out_of_what_is_recorded():
    """A header is sent as it was given; its value is masked, and so is what follows the scheme of an Authorization."""
    found = endpoint(
        replace(SIGNED, headers=(header("Authorization", "Bearer canary-12345"), header("X-Region", "eu")))
    )
    assert found.header_lines == (b"Authorization: Bearer canary-12345", b"X-Region: eu")
    assert found.secrets == (b"Bearer canary-12345", b"canary-12345", b"the secret")
    assert "canary" not in repr(found)


@pytest.mark.promise(6)
def test_what_json_makes_of_a_secret_is_kept_out_too():
    """An endpoint that echoes its request as JSON, with quotes and slashes escaped, tells no header's value."""
    value = 'tok/en+9876"x=='
    found = endpoint(replace(SIGNED, headers=(header("Authorization", value),)))
    for echo in (json.dumps(value), json.dumps(value).replace("/", "\\/")):
        assert any(secret in echo.encode() for secret in found.secrets), echo


def test_a_former_secret_signs_until_it_ends():
    """During a rotation both keys sign, the newest first; from its end on the former one does not."""
    former = FormerSecret("sec_0", seal("the old one", "sec_0"), 500, until_ms=9_000)
    found = endpoint(replace(SIGNED, former_secrets=(former,)))
    newest, old = (SENDER.signing_key(secret).sign(b"body") for secret in ("the secret", "the old one"))
    assert [key.sign(b"body") for key in found.keys_at(8_999)] == [newest, old]
    assert [key.sign(b"body") for key in found.keys_at(9_000)] == [newest]
    assert set(found.secrets) == {b"the secret", b"the old one"}


def test_a_client_certificate_is_opened():
    """The key comes back as it was sealed, and no print of the endpoint shows it."""
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
def test_a_header_that_no_writer_would_take_is_never_sent(name, value):
    """A record that was made past the rules is unusable, as a header of it could end its line or frame the message."""
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
def test_what_was_sealed_as_one_thing_does_not_open_as_another(moved):
    """Whoever can write to the topic cannot have a secret sent as a header, nor one header under another name."""
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
def test_numbers_that_nobody_can_count_with_make_a_record_unusable(setting: dict[str, Any]):
    """Whatever somebody else wrote, a record's numbers end no process: it is unusable until it is mended."""
    with pytest.raises(UnreadableRecord, match=f"{next(iter(setting))} is out of bounds"):
        endpoint(replace(SIGNED, **setting))

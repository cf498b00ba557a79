"""What a receiver of Onboarding API webhooks gets; signatures are in test_standard_webhooks.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas.catalog.errors import UnreadableRecord
from schemas.events.event import Event
from schemas.network.egress import EgressPolicy
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.subscriptions.subscription import matches
from tests.contracts.senders import SENDERS, SIGNPOST, WHSEC, reader
from tests.support.attempts import headers_of

ONBOARDING = SENDERS["onboarding"]
CONTRACT = Path(__file__).parents[2] / "docs/senders/onboarding.md"
OBJECTS = [{}, {"result": None}, {"a": {"b": [1, 2.50, "é"]}, "event_type": "x"}, {"": "", "n": 10**40}]


def test_there_are_the_32_types_of_the_document() -> None:
    """The sender has each type of the document's tables with its trigger, in its order."""
    table = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.*?) \|$", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) == 32
    assert [(name, event_type.trigger) for name, event_type in ONBOARDING.event_types.items()] == table


@pytest.mark.decision("O11", "O12", "O13")
@pytest.mark.parametrize("event_type", ONBOARDING.event_types)
def test_each_type_has_the_envelope_and_any_object(event_type: str) -> None:
    """Four keys in their order, the time with microseconds and +00:00, data passed through unchanged."""
    for data in OBJECTS:
        document = {"event_id": "evt_1", "event_type": event_type, "created_at": "2026-01-18T14:20:00.123456+00:00"}
        event = reader("onboarding").event(document | {"data": data})
        body = ONBOARDING.render(EventDecoder(ONBOARDING).decode(encode_event(ONBOARDING, event), str))
        assert body == json.dumps(document | {"data": data}, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.decision("O14", "O15", "O16")
def test_all_is_every_type_and_test_is_none_that_is_published() -> None:
    """A subscription may name all, one type, or test, which nobody publishes; all takes each type by its own name."""
    assert "test" in ONBOARDING.subscribable
    assert ONBOARDING.takes("test")
    assert ONBOARDING.type_of("test") is None
    assert ONBOARDING.type_of("all") is None
    assert all(matches("all", event_type) for event_type in ONBOARDING.event_types)
    assert not any(matches("test", event_type) for event_type in ONBOARDING.event_types)


@pytest.mark.decision("O15", "O16")
def test_a_record_of_type_test_is_sent_to_nobody() -> None:
    """Whatever else writes to the topic: a record that says test is unreadable, and reaches no subscription."""
    value = encode_event(ONBOARDING, Event("evt_1", "case.opened", 0, "acme", {}))
    old, new = (bytes([2 * len(name)]) + name for name in (b"case.opened", b"test"))
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(ONBOARDING).decode(value.replace(old, new), str)
    assert error.value.reason == "unknown_event_type"


@pytest.mark.decision("O36")
def test_the_body_of_the_test_event_can_be_rendered() -> None:
    """The envelope with the type test and its message, for the operation that sends it."""
    body = ONBOARDING.render(Event("evt_1", "test", 0, "acme", {"message": "This is a test event"}))
    assert b'"event_type":"test","created_at":"1970-01-01T00:00:00.000000+00:00","data":{"message":' in body


@pytest.mark.decision("O7", "O44")
def test_the_headers_are_those_of_the_contract() -> None:
    """Content-Type, User-Agent and the three of the signature."""
    headers = headers_of(ONBOARDING, b"{}", WHSEC)
    assert list(headers) == ["Content-Type", "User-Agent", "webhook-id", "webhook-timestamp", "webhook-signature"]
    assert (headers["Content-Type"], headers["User-Agent"]) == ("application/json", SIGNPOST)


@pytest.mark.decision("O19", "O33", "O34", "O43", "O44")
def test_schedule_timeout_limits_key_and_filters_are_those_of_the_contract() -> None:
    """Nine waits, 30 s, no limit of webhooks, the event's id as key, filters without effect."""
    waits_s = [int(wait.total_seconds()) for wait in ONBOARDING.schedule]
    assert waits_s == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert (ONBOARDING.timeout.total_seconds(), ONBOARDING.max_subscriptions) == (30, None)
    assert (ONBOARDING.max_body, ONBOARDING.evaluate_filters) == (262_144, False)
    assert ONBOARDING.key_of(Event("evt_1", "case.opened", 0, "acme", {"id": "x"})) == "evt_1"


def test_the_flavours_of_the_apis_are_data() -> None:
    """Which REST API manages a sender's webhooks stands in its folder."""
    flavours = {name: sender.api for name, sender in SENDERS.items()}
    assert flavours == {
        "zenoo": "native", "onboarding": "onboarding", "diligent": "diligent", "riskos": "native", "standard": "native"
    }  # fmt: skip


def test_urls_of_all_senders_keep_the_same_rules() -> None:
    """HTTPS and a public name, whichever sender."""
    EgressPolicy().check_url("https://api.yourcompany.com/webhooks/screening")

"""Onboarding API webhooks: types, envelope, headers, limits. test_standard_webhooks.py tests the signatures."""

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


def test_types_are_the_32_of_the_document() -> None:
    """The sender has each type of the document's tables with its trigger, in that order."""
    table = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.*?) \|$", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) == 32
    assert [(name, event_type.trigger) for name, event_type in ONBOARDING.event_types.items()] == table


@pytest.mark.decision("O11", "O12", "O13")
@pytest.mark.parametrize("event_type", ONBOARDING.event_types)
def test_each_type_has_the_envelope_and_any_object(event_type: str) -> None:
    """The body has four keys in order, the time with microseconds and +00:00, and the data unchanged."""
    for data in OBJECTS:
        document = {"event_id": "evt_1", "event_type": event_type, "created_at": "2026-01-18T14:20:00.123456+00:00"}
        event = reader("onboarding").event(document | {"data": data})
        body = ONBOARDING.render(EventDecoder(ONBOARDING).decode(encode_event(ONBOARDING, event), str))
        assert body == json.dumps(document | {"data": data}, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.decision("O14", "O15", "O16")
def test_all_matches_every_type_and_test_is_never_published() -> None:
    """A subscription can name `all`, a type, or `test`, which is never published. `all` matches each published type."""
    assert "test" in ONBOARDING.subscribable
    assert ONBOARDING.takes("test")
    assert ONBOARDING.type_of("test") is None
    assert ONBOARDING.type_of("all") is None
    assert all(matches("all", event_type) for event_type in ONBOARDING.event_types)
    assert not any(matches("test", event_type) for event_type in ONBOARDING.event_types)


@pytest.mark.decision("O15", "O16")
def test_record_of_type_test_reaches_no_subscription() -> None:
    """A record of type `test` on the topic is unreadable and reaches no subscription."""
    value = encode_event(ONBOARDING, Event("evt_1", "case.opened", 0, "acme", {}))
    old, new = (bytes([2 * len(name)]) + name for name in (b"case.opened", b"test"))
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(ONBOARDING).decode(value.replace(old, new), str)
    assert error.value.reason == "unknown_event_type"


@pytest.mark.decision("O36")
def test_body_of_the_test_event_can_be_rendered() -> None:
    """The test event has the envelope with the type `test` and a message."""
    body = ONBOARDING.render(Event("evt_1", "test", 0, "acme", {"message": "This is a test event"}))
    assert b'"event_type":"test","created_at":"1970-01-01T00:00:00.000000+00:00","data":{"message":' in body


@pytest.mark.decision("O7", "O44")
def test_headers_are_those_of_the_contract() -> None:
    """The headers are Content-Type, User-Agent and the three webhook-* headers."""
    headers = headers_of(ONBOARDING, b"{}", WHSEC)
    assert list(headers) == ["Content-Type", "User-Agent", "webhook-id", "webhook-timestamp", "webhook-signature"]
    assert (headers["Content-Type"], headers["User-Agent"]) == ("application/json", SIGNPOST)


@pytest.mark.decision("O19", "O33", "O34", "O44")
def test_schedule_timeout_limits_and_key_are_those_of_the_contract() -> None:
    """Nine waits, a timeout of 30 s, no limit of webhooks, and the event's id as key."""
    waits_s = [int(wait.total_seconds()) for wait in ONBOARDING.schedule]
    assert waits_s == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert (ONBOARDING.timeout.total_seconds(), ONBOARDING.max_subscriptions) == (30, None)
    assert ONBOARDING.max_body == 262_144
    assert ONBOARDING.key_of(Event("evt_1", "case.opened", 0, "acme", {"id": "x"})) == "evt_1"


def test_url_of_the_document_is_allowed() -> None:
    """The URL of the document, with HTTPS and a public name, is allowed."""
    EgressPolicy().check_url("https://api.yourcompany.com/webhooks/screening")

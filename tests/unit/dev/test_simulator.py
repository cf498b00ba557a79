"""Simulated events are events that the product could send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from deploy.cli.events import paced
from deploy.demo.simulator import Simulator
from producers.events.json_reader import EventReader
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import load_senders

ZENOO = load_senders()["zenoo"]
NOW_US = 1_771_236_060_123_456
NOW = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOW_US)


def simulated(count: int, seed: int = 7, customers: tuple[str, ...] = ("acme", "globex")) -> list[Event]:
    return list(islice(Simulator(seed, customers, lambda: NOW_US).events(), count))


def test_every_event_fits_its_schema():
    """Simulated events are complete, and cover all types and customers."""
    reader = EventReader(ZENOO, lambda: NOW_US, lambda: "")
    events = simulated(1_000)
    for event in events:
        assert list(reader.data_problems(event.event_type, event.data)) == []
        assert list(event.data) == list(ZENOO.event_types[event.event_type].data_fields)
    assert {event.event_type for event in events[:300]} == set(ZENOO.event_types)
    assert {event.customer_id for event in events} == {"acme", "globex"}


@pytest.mark.parametrize("name", load_senders())
def test_events_of_every_sender_can_be_published(name: str):
    """A sender's events cover all its types, fit schemas and conditions, and can be rendered."""
    sender = load_senders()[name]
    reader = EventReader(sender, lambda: NOW_US, lambda: "")
    events = list(islice(Simulator(7, ("acme",), lambda: NOW_US, sender).events(), 1_500))
    for event in events:
        assert list(reader.data_problems(event.event_type, event.data)) == []
        assert sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
    assert {event.event_type for event in events} >= set(sender.event_types)


def test_same_seed_gives_the_same_events():
    """A run is repeatable; another seed gives other events; ids are unique."""
    assert simulated(500) == simulated(500)
    assert simulated(500) != simulated(500, seed=8)
    assert len({event.event_id for event in simulated(5_000)}) == 5_000


def test_names_have_letters_beyond_ascii():
    """Names and texts use the letters of several languages, some of three bytes in UTF-8."""
    text = "".join(str(event.data) for event in simulated(1_000))
    assert not text.isascii()
    assert any(len(letter.encode()) == 3 for letter in text)


def test_tokens_belong_to_their_case():
    """An alert belongs to the case and the check that raised it, and all events of a case to one customer."""
    case_of_alert: dict[str, str] = {}
    customer_of: dict[str, str] = {}
    for event in simulated(3_000):
        data = event.data
        if event.event_type == "check.completed" and data["alert_generated"]:
            case_of_alert[data["alert_token"]] = data["case_token"]
        elif event.event_type.startswith("alert.") and "case_token" in data:
            assert case_of_alert[data["alert_token"]] == data["case_token"]
        if "case_token" in data:
            assert customer_of.setdefault(data["case_token"], event.customer_id) == event.customer_id
    assert case_of_alert


@pytest.mark.decision("Z20")
def test_check_without_alert_has_no_alert_token():
    """alert_token is null exactly if alert_generated is false."""
    checks = [event.data for event in simulated(1_000) if event.event_type == "check.completed"]
    assert {check["alert_generated"] for check in checks} == {True, False}
    assert all((check["alert_token"] is not None) == check["alert_generated"] for check in checks)


@pytest.mark.decision("Z23")
def test_days_are_counted_by_calendar_date():
    """Days remaining and overdue are differences of UTC calendar dates."""
    seen = set()
    for event in simulated(3_000):
        if event.event_type in {"sla.warning", "sla.breached"}:
            days = (datetime.fromisoformat(event.data["due_date"]).date() - NOW.date()).days
            assert event.data.get("days_remaining", -event.data.get("days_overdue", 0)) == days
            seen.add(event.event_type)
    assert len(seen) == 2


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self._now_s = 100.0

    def now_s(self) -> float:
        return self._now_s

    def sleep_s(self, wait_s: float) -> None:
        self._now_s += wait_s


def test_events_keep_their_rate_and_catch_up():
    """Each item is due a tenth of a second after the one before, none is early, and a stall is caught up."""
    clock = Clock()
    yielded = []
    for item in paced(iter(range(6)), 10, clock.now_s, clock.sleep_s):
        yielded.append(round(clock.now_s(), 6))
        if item == 2:
            clock.sleep_s(0.25)
    assert yielded == [100.0, 100.1, 100.2, 100.45, 100.45, 100.5]

"""Events that cannot be published raise EventError before anything is sent."""

from __future__ import annotations

import pytest

from producers.events.publisher import EventPublisher
from schemas.avro.json_text import JsonText
from schemas.catalog.errors import EventError
from schemas.events.event import Event
from schemas.senders.sender import load_senders

DILIGENT = load_senders()["diligent"]


@pytest.fixture
def publisher() -> EventPublisher:
    """Return a publisher without a broker: events are prepared and not sent."""
    return EventPublisher({"bootstrap.servers": ""}, sender=DILIGENT, topic="t")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"a":NaN}',
        '{"a":"\\ud800"}',
        '{"a":' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
    ids=["broken", "not an object", "NaN", "lone surrogate", "5,000 levels"],
)
def test_unusable_json_text_is_refused(publisher: EventPublisher, text: str) -> None:
    """Text that is not JSON, or too large to parse, is an EventError: published, it would be a dead letter."""
    with pytest.raises(EventError):
        publisher.prepare(Event("evt_1", next(iter(DILIGENT.event_types)), 1, "acme", JsonText(text)))

"""The names in an event's record, read even if the rest is invalid."""

from __future__ import annotations

import pytest

from schemas.catalog.errors import UnreadableRecord
from schemas.events.event import Event
from schemas.events.event_head import EventHead
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import load_senders
from schemas.senders.writer_schemas import confluent_value
from tests.support.installation import DATA

ZENOO = load_senders()["zenoo"]
HEAD = EventHead("evt_1", "case.created", "acme")


class Registry:
    """A registry with one schema; `get` returns it as the registry's client does."""

    def get(self, schema_id: int) -> object:
        if schema_id != 7:
            raise UnreadableRecord("unknown_schema", "no such schema")
        return ZENOO.event_types["case.created"].schema


def value(event_id: str = "evt_1", customer_id: str = "acme", created_at_us: int = 0) -> bytes:
    return encode_event(ZENOO, Event(event_id, "case.created", created_at_us, customer_id, DATA))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (value(), HEAD),
        (value(customer_id=""), HEAD._replace(customer_id="")),
        (value(event_id=""), HEAD._replace(event_id="")),
        (value(created_at_us=2**62), HEAD),
        (value() + b"more", HEAD),
        (value()[:-40], HEAD),
        (value()[:14], None),
        (b"\xc3\x01", None),
        (b"text", None),
        (b"", None),
        (None, None),
    ],
)
def test_head_is_read_from_valid_and_invalid_records(content: bytes | None, expected: EventHead | None) -> None:
    """Any record that has the names gives them; other bytes give nothing and raise nothing."""
    assert EventDecoder(ZENOO).head(content) == expected


def test_head_is_read_in_the_wire_format_of_a_registry() -> None:
    """A record with a schema of the registry gives its names; an unknown schema is the registry's error."""
    decoder = EventDecoder(ZENOO, Registry())
    assert decoder.head(confluent_value(7, value(customer_id=""))) == HEAD._replace(customer_id="")
    assert decoder.head(confluent_value(7, value() + b"more")) is None
    assert EventDecoder(ZENOO).head(confluent_value(7, value())) is None
    with pytest.raises(UnreadableRecord):
        decoder.head(confluent_value(8, value()))

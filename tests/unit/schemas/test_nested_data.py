"""Deeply nested data of a sender with a recursive type."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.catalog.errors import UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import load_sender
from tests.contracts.test_any_value import folder_of

NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


def test_deeply_nested_data_do_not_end_the_router(tmp_path: Path) -> None:
    """Data of a few levels are rendered; thousands of levels are an unreadable record."""
    sender = load_sender(folder_of(tmp_path / "trees", NODE))
    value = encode_event(sender, Event("evt_1", "all.kinds", 1, "acme", {"next": {"next": None}}))
    decoder = EventDecoder(sender)
    assert b'{"next":{"next":null}}' in sender.render(decoder.decode(value, lambda: ""))
    assert value.endswith(b"\2\0")
    with pytest.raises(UnreadableRecord, match="RecursionError"):
        decoder.decode(value[:-1] + b"\2" * 50_000 + b"\0", lambda: "")

"""Example events of a sender: `examples/*.json` in its folder, in any form that `signpost events publish` reads.

Documents for receivers show them, and the simulator uses them. No role reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from producers.events.json_reader import EventReader
from schemas.catalog.errors import EventError
from schemas.events.event import ANY, Event
from schemas.records.delivery import uuid5
from schemas.senders.sender import Sender

CUSTOMER: Final = "acme"
# 2026-02-16T10:00:59.123456Z, of examples without a time.
CREATED_US: Final = 1_771_236_059_123_456
_FOLDER: Final = "examples"
_ENDING: Final = ".json"


def example_events(sender: Sender) -> Mapping[str, tuple[Event, ...]]:
    """Return the examples by event type, in the order of their file names; types without a name of their own under `*`.

    EventError names the file of an example that could not be published.
    """
    folder = sender.folder / _FOLDER
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    found: dict[str, tuple[Event, ...]] = {}
    for file in (file for file in files if file.name.endswith(_ENDING) and not file.name.startswith(".")):
        reader = EventReader(sender, lambda: CREATED_US, partial(example_id, file.name), CUSTOMER)
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise EventError(f"{file}: the file cannot be read: {error}") from error
        for event in reader.read(text, str(file)):
            name = event.event_type if event.event_type in sender.event_types else ANY
            found[name] = (*found.get(name, ()), event)
    return found


def example_id(name: str) -> str:
    """Return the id of an example without one, always the same for a name."""
    return f"evt_{uuid5(name).replace('-', '')[:20]}"

"""Data of the Zenoo contract: examples as documents and as events, and signature vectors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.events.event import Event
from schemas.senders.sender import Sender, load_senders

DATA = Path(__file__).parent / "data"
EXAMPLES: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((DATA / "examples/zenoo").glob("*.json"))
}
VECTORS: dict[str, Any] = json.loads((DATA / "signature_vectors.json").read_text(encoding="utf-8"))
ZENOO: Sender = load_senders()["zenoo"]


def event_of(document: dict[str, Any], customer_id: str = "acme") -> Event:
    """Return a contract's example as an event."""
    created_at = datetime.fromisoformat(document["created_at"])
    created_at_us = (created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return Event(document["event_id"], document["event_type"], created_at_us, customer_id, document["data"])


def golden(document: dict[str, Any]) -> bytes:
    """Return the expected body of an example, made by another JSON library: compact, UTF-8, keys in their order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

"""The contracts' examples of all senders: as files, as request bodies, and with their headers."""

from __future__ import annotations

import hashlib
import hmac
import json
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from producers.events.json_reader import EventReader
from schemas.events.event import Event
from schemas.senders.sender import Sender, load_senders

DATA: Final = Path(__file__).parent / "data"
VECTORS: Final[dict[str, Any]] = json.loads((DATA / "signature_vectors.json").read_text(encoding="utf-8"))
SENDERS: Final = load_senders()
# From the Onboarding API's document: 39 bytes in base64 without padding.
WHSEC: Final = "whsec_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q7R8S9T0U1V2W3X4Y5Z6"
SIGNPOST: Final = f"Signpost/{metadata.version('kafka-signpost')}"


class Example(NamedTuple):
    """An example file of a contract."""

    sender: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.sender}-{self.name}"

    @property
    def document(self) -> dict[str, Any]:
        """The file as JSON."""
        document: dict[str, Any] = json.loads(self.text)
        return document

    @property
    def event_type(self) -> str:
        """The event type. It is the name of the file if the document has the type only in a header."""
        return str(self.document.get("event_type", self.name))

    @property
    def body(self) -> bytes:
        """The expected body, made by another JSON library: a string payload unchanged, any other payload compact."""
        document = self.document
        payload = document.get("payload", document)
        if isinstance(payload, str):
            return payload.encode()
        return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()

    def event(self, customer_id: str = "acme") -> Event:
        """Return the event that publishing the unchanged file creates."""
        (event,) = reader(self.sender, customer_id).read(self.text, self.name)
        return event


def reader(sender: str, customer_id: str = "acme") -> EventReader:
    """Return a reader of a sender's JSON events. Events without an id or a time get fixed ones."""
    return EventReader(SENDERS[sender], lambda: 1_771_236_060_123_456, lambda: "evt_made", customer_id)


def examples() -> list[Example]:
    """Return all examples of request bodies."""
    return [
        Example(file.parent.name, file.stem, file.read_text(encoding="utf-8"))
        for file in sorted((DATA / "examples").glob("*/*.json"))
    ]


def sha256_hex(secret: str, body: bytes) -> str:
    """Return the signature of zenoo and diligent as a receiver computes it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def diligent_headers(example: Example, *, job_id: str, subscription_id: str, secret: str | None) -> dict[str, str]:
    """Return the headers of a Diligent example. Values that the document elides follow the contract's rules (D1)."""
    shown: dict[str, str] = example.document["headers"]
    known = {
        "X-Webhook-Id": subscription_id,
        "X-Event-Id": job_id,
        "X-Customer-Id": "acme",
        "X-Event-Name": example.name.upper(),
    }
    headers = {**shown, **known}
    del headers["X-Signature"]
    return headers if secret is None else {**headers, "X-Signature": sha256_hex(secret, example.body)}


def sender(name: str) -> Sender:
    """Return a sender."""
    return SENDERS[name]

"""Properties of a sender that follow from its signatures and its schemas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from schemas.avro.json_form import embedding
from schemas.avro.types import walk
from schemas.senders.sender import Sender

_BODY: Final = b"{}"


@dataclass(frozen=True, slots=True)
class _Attempt:
    event_type: str
    job_id: str = "00000000-0000-0000-0000-000000000000"
    event_id: str = "evt_1"
    customer_id: str = "a"
    subscription_id: str = "a"


@lru_cache(maxsize=256)
def signs_with_all(sender: Sender) -> bool:
    """Return whether both secrets sign during a rotation; otherwise only the newest signs, and the old one ends.

    With both signatures, receivers that still have the old secret accept the request.
    """
    newest = sender.signing_key(sender.generate_secret())
    former = sender.signing_key(sender.generate_secret())
    attempt = _attempt(sender)
    return sender.headers(attempt, _BODY, (newest,), 0) != sender.headers(attempt, _BODY, (newest, former), 0)


def _attempt(sender: Sender) -> _Attempt:
    return _Attempt(next(iter(sender.event_types), "a"))


@lru_cache(maxsize=256)
def writes_all_json(sender: Sender) -> bool:
    """Return whether Signpost writes all JSON of the sender's bodies, which is then compact.

    Otherwise parts of a body are JSON text of its publisher, which stays as it is.
    """
    return not any(
        embedding(node) in ("object", "raw") for event_type in sender.all_types for _, node in walk(event_type.data)
    )

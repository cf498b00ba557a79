"""What a sender does, found by having it sign an attempt that nobody sends: true of any format of its folder. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

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
    """Tell whether all valid secrets sign during a rotation; else the newest alone does, and the old one ends at once.

    A secret before the newest, beside which it signs, is one that receivers may still hold.
    """
    newest, former = (sender.signing_key(sender.generate_secret()) for _ in range(2))
    one, two = (sender.headers(_attempt(sender), _BODY, keys, 0) for keys in ((newest,), (newest, former)))
    return one != two


def _attempt(sender: Sender) -> _Attempt:
    return _Attempt(next(iter(sender.event_types), "a"))

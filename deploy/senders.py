"""The senders of this installation."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.sender import Sender, load_senders
from schemas.settings import Settings


def senders_of(_settings: Settings) -> Mapping[str, Sender]:
    """Return the senders that Signpost brings, by name."""
    return load_senders()

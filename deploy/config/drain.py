"""What `drain_timeout` has to cover: the longest timeout of a request, and the time to record its result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from consumers.delivery.long_timeouts import FINISH_MS
from schemas.catalog.errors import SettingsError
from schemas.input.durations import format_duration
from schemas.senders.sender import Sender
from schemas.settings.settings import Settings

TO_FINISH: Final = timedelta(milliseconds=FINISH_MS)


def longest_timeout(settings: Settings) -> timedelta:
    """Return the longest timeout that a subscription may set."""
    return max(settings.drain_timeout - TO_FINISH, timedelta(seconds=1))


def check_drain_timeout(settings: Settings, senders: Mapping[str, Sender]) -> None:
    """SettingsError if requests of a sender may take longer than a stopping process waits for them."""
    sender = max(senders.values(), key=lambda one: one.timeout)
    needed = sender.timeout + TO_FINISH
    if settings.drain_timeout < needed:
        raise SettingsError(
            f"drain_timeout is {settings.drain_timeout.total_seconds():g}s, but a request of sender {sender.name} may "
            f"take {format_duration(sender.timeout)}: set drain_timeout to {format_duration(needed)} or more; "
            "otherwise requests that are open at a stop would be sent again"
        )

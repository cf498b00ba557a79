"""Timeouts of subscriptions that are too long for the drain of this process.

A stopped process waits `drain_timeout` for its requests. A request that may take longer is cut off and sent again. The
writer of subscriptions refuses such a timeout, but the setting may be lowered afterwards, and other programs can write
to the topic.
"""

from __future__ import annotations

from typing import Final

import structlog

from consumers.delivery.endpoint import Endpoint
from consumers.subscriptions.state import Entry
from schemas.catalog.errors import SettingsError

# The time after the last response: record it, commit, leave the group.
FINISH_MS: Final = 5_000
_log = structlog.get_logger("delivery")


class LongTimeouts:
    """Follows the subscriptions whose timeout exceeds what `drain_ms` allows."""

    def __init__(self, drain_ms: int) -> None:
        self._drain_ms = drain_ms
        self._longest_ms = drain_ms - FINISH_MS
        self._found: dict[str, int] = {}
        self._started = False

    def on_change(self, id_: str, entry: Entry[Endpoint] | None) -> None:
        """Follow a change of the subscriptions table."""
        if entry is None or entry.value.timeout_ms <= self._longest_ms:
            self._found.pop(id_, None)
            return
        timeout_ms = entry.value.timeout_ms
        if self._started and self._found.get(id_) != timeout_ms:
            _log.warning(
                "subscription.drain_exceeded", subscription=id_, timeout_ms=timeout_ms, drain_ms=self._drain_ms
            )
        self._found[id_] = timeout_ms

    def check_start(self) -> None:
        """Refuse the start of this process if there is such a subscription: SettingsError. Later ones are logged."""
        self._started = True
        if not self._found:
            return
        id_ = max(self._found, key=self._found.__getitem__)
        timeout_ms = self._found[id_]
        others = f" (and {len(self._found) - 1} more)" if len(self._found) > 1 else ""
        raise SettingsError(
            f"drain_timeout is {self._drain_ms / 1_000:g}s, but subscription {id_}{others} has a timeout of "
            f"{timeout_ms / 1_000:g}s: set drain_timeout to {(timeout_ms + FINISH_MS) / 1_000:g}s or more, or give the "
            "subscription a shorter timeout; otherwise requests that are open at a stop would be sent again"
        )

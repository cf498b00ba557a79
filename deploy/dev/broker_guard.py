"""Restarts a broker of `signpost up` that died, with its data, and bounds its log.

A restart takes seconds, so a thread of its own does it: meanwhile roles are watched, and Ctrl-C ends everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from consumers.kafka.threads import in_thread
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable

_CHECK_S: Final = 1.0  # for a container this is a request to Docker
# The pause before a restart doubles with each death soon after the last start. At the maximum number of deaths in a row
# everything ends: a broker that dies again and again needs a person.
_FIRST_PAUSE_S: Final = 0.5
_DEATHS: Final = 4
_STABLE_AFTER_S: Final = 30.0
_KILLED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.05


class BrokerGuard:
    """Watches one broker. `on_progress` gets a line for each death and each restart."""

    def __init__(self, broker: Broker, on_progress: Callable[[str], None]) -> None:
        self._broker = broker
        self._on_progress = on_progress
        self._started_s = time.monotonic()
        self._act_s = 0.0  # when the next check or restart is due
        self._deaths = 0
        self._is_dead = False
        self._restart: Future[None] | None = None

    def watch(self) -> None:
        """Restart the broker if it died, and bound its log; returns at once. Unavailable if it died too often."""
        now_s = time.monotonic()
        if self._restart is not None:
            if self._restart.done():
                self._on_restarted(self._restart, now_s)
        elif now_s >= self._act_s:
            self._act_s = now_s + _CHECK_S
            if self._is_dead:
                self._restart = in_thread("broker", self._broker.start)
            elif not self._broker.is_alive():
                self._on_death(self._broker.ended, now_s)
            else:
                self._broker.limit_log()

    def close(self) -> None:
        """End a restart that is under way."""
        deadline_s = time.monotonic() + _KILLED_WITHIN_S
        while self._restart is not None and not self._restart.done() and time.monotonic() < deadline_s:
            self._broker.kill()
            time.sleep(_POLL_S)

    def _on_restarted(self, restart: Future[None], now_s: float) -> None:
        self._restart = None
        try:
            restart.result()
        except (Unavailable, OSError) as error:
            self._broker.kill()  # one that is not ready in time still runs
            self._on_death(f"did not start again: {error}", now_s)
            return
        self._is_dead = False
        self._started_s = now_s
        self._on_progress(f"broker: {self._broker.describe}")

    def _on_death(self, how: str, now_s: float) -> None:
        if not self._is_dead and now_s - self._started_s > _STABLE_AFTER_S:
            self._deaths = 0
        self._deaths += 1
        self._is_dead = True
        what = f"the broker at {self._broker.bootstrap_servers} {how}"
        if "log:" not in how:
            what += f" (log: {self._broker.save_log()})"
        if self._deaths >= _DEATHS:
            raise Unavailable(f"{what}, {_DEATHS} times in a row; its data is kept, and `signpost up` tries again")
        pause_s = _FIRST_PAUSE_S * 2 ** (self._deaths - 1)
        self._on_progress(f"{what}; starting it again with its data in {pause_s:g} s")
        self._act_s = now_s + pause_s

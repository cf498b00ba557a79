"""A thread that follows compacted topics, so that their records in memory stay current."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from producers.compacted.log import CompactedLog
from producers.compacted.worker import Worker
from schemas.catalog.errors import Unavailable

_FOLLOW_S: Final = 0.05
# An end offset is requested at least this often: an idle topic does not show that its broker is away.
_CHECK_S: Final = 2.0


class Follower:
    """Reads `logs` to their ends, and follows them. Other threads may look records up."""

    def __init__(self, logs: Sequence[CompactedLog[Any]]) -> None:
        self._logs = logs
        self._check_at_s = 0.0
        self._has_read = False
        self._reason: str | None = f"{', '.join(log.topic for log in logs)}: not read yet"
        self._worker = Worker("follower", self._turn, self._on_unavailable)

    def start(self) -> None:
        """Start to read."""
        self._worker.start()

    def stop(self) -> None:
        """Let the thread end. `close` waits for it."""
        self._worker.stop()

    def close(self) -> None:
        """End the thread, and close the logs."""
        self._worker.join()
        for log in self._logs:
            log.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.is_alive

    @property
    def has_read(self) -> bool:
        """Whether all records that existed at the start have been read."""
        return self._has_read

    def why_not_ready(self) -> str | None:
        """Return why the records may be old or incomplete, None if they are neither."""
        return self._reason

    def _on_unavailable(self, error: Unavailable) -> None:
        self._reason = str(error)

    def _turn(self) -> None:
        if time.monotonic() >= self._check_at_s:
            for log in self._logs:
                log.read()
            self._check_at_s = time.monotonic() + _CHECK_S
            self._has_read = True
            self._reason = None
        for log in self._logs:
            log.follow(_FOLLOW_S)

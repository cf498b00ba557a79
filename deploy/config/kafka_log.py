"""librdkafka's own lines: the same one is written once a minute at most, and says how many more there were.

While a broker is away, every client says so about once a second for each address; the roles say it once by themselves.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Final

# All clients are given this logger or one below it: without one, librdkafka writes past the log to standard error.
LOGGER: Final = "signpost.kafka"
AGAIN_AFTER_S: Final = 60.0
# Addresses come from settings and from brokers, texts from librdkafka: there are a few dozen.
_MAX_KINDS: Final = 1_000
# What a person sets is given to every client, though some of it is for one kind of them.
_ON_PURPOSE: Final = re.compile(r"^CONFWARN .* property and will be ignored by this")
_TIMES: Final = re.compile(r" \(after [^)]*\)|\d+")


@dataclass(slots=True)
class _Seen:
    since_s: float
    more: int = 0


class Thinned(logging.Filter):
    """Lets a line through that was not written within the last minute; other loggers' lines, and fatal ones, always.

    Lines that differ in numbers alone are the same: the clients of a process are numbered, and so are their attempts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is to be written."""
        if not f"{record.name}.".startswith(f"{LOGGER}."):
            return True
        text = record.getMessage()
        if _ON_PURPOSE.search(text):
            return False
        if record.levelno >= logging.CRITICAL:
            return True
        kind = _TIMES.sub("", text)
        seen = self._seen.get(kind)
        if seen is not None and record.created - seen.since_s < AGAIN_AFTER_S:
            seen.more += 1
            return False
        if seen is not None and seen.more:
            record.msg, record.args = f"{text} (and {seen.more} more like it since the last line)", ()
        if len(self._seen) >= _MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = _Seen(record.created)
        return True


def thin(handler: logging.Handler | None) -> None:
    """Let a handler write librdkafka's lines once a minute at most."""
    if handler is not None and not any(isinstance(known, Thinned) for known in handler.filters):
        handler.addFilter(Thinned())

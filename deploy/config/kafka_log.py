"""Log filter for librdkafka: it writes a repeated line at most once a minute, with the number of suppressed lines.

While a broker is unreachable, every client logs it about once a second per address. The roles log it once.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Final

# All clients get this logger or a child of it. Without one, librdkafka writes to standard error directly.
LOGGER: Final = "signpost.kafka"
REPEAT_AFTER_S: Final = 60.0
# Addresses come from settings and brokers, texts from librdkafka: a few dozen lines in practice.
_MAX_LINES: Final = 1_000
# Every client gets all properties of the settings, though some apply only to producers or only to consumers.
_IGNORED: Final = re.compile(r"^CONFWARN .* property and will be ignored by this")
_NUMBERS: Final = re.compile(r" \(after [^)]*\)|\d+")


@dataclass(slots=True)
class _Repeats:
    written_s: float
    suppressed: int = 0


class RepeatFilter(logging.Filter):
    """Suppresses a line of librdkafka that was written within the last minute, unless it is critical.

    Lines that differ only in numbers are the same line, because they contain numbers of clients and attempts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats: dict[str, _Repeats] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the line."""
        if not f"{record.name}.".startswith(f"{LOGGER}."):
            return True
        text = record.getMessage()
        if _IGNORED.search(text):
            return False
        if record.levelno >= logging.CRITICAL:
            return True
        line = _NUMBERS.sub("", text)
        repeats = self._repeats.get(line)
        if repeats is not None and record.created - repeats.written_s < REPEAT_AFTER_S:
            repeats.suppressed += 1
            return False
        if repeats is not None and repeats.suppressed:
            record.msg = f"{text} (and {repeats.suppressed} more like it since the last line)"
            record.args = ()
        if len(self._repeats) >= _MAX_LINES:
            self._repeats.clear()
        self._repeats[line] = _Repeats(record.created)
        return True


def limit_repeats(handler: logging.Handler | None) -> None:
    """Add a RepeatFilter to a handler that has none."""
    if handler is not None and not any(isinstance(known, RepeatFilter) for known in handler.filters):
        handler.addFilter(RepeatFilter())

"""Logs of all processes: coloured on a terminal, JSON elsewhere, always on standard error.

Modules log with `structlog.get_logger().info("router.started", partitions=3)`: the name of an event and its values.
Of a URL, only the host may be logged. Lines of libraries that use `logging` have the same format, from warnings up.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Final, Literal, TextIO, TypeAlias, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from deploy.config.kafka_log import limit_repeats

Format: TypeAlias = Literal["auto", "console", "json"]
# Kafka clients log to children of this logger.
OWN_LOGGER: Final = "signpost"


def is_json(format_: Format, stream: TextIO) -> bool:
    """Return whether lines to this stream are JSON."""
    return format_ == "json" or (format_ == "auto" and not stream.isatty())


def configure_logging(level: str = "info", format_: Format = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog and logging; `stream` is standard error by default."""
    out = cast("TextIO", _Lossy(stream or sys.stderr))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering = _rendering(is_json(format_, out), colors=out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,  # tests configure logging again after modules have used their loggers
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    limit_repeats(handler)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))  # at level info httpx logs whole URLs
    logging.getLogger(OWN_LOGGER).setLevel(threshold)


def discard_events() -> None:
    """Write no log lines of structlog: a command that is no role prints its own report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class _Lossy:
    """A stream that drops lines which cannot be written: on a full disk, deliveries are worth more than their log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def _rendering(as_json: bool, *, colors: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The default traceback shows local variables, which may be secrets.
    plain = structlog.dev.plain_traceback
    return [_escape, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain)]


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape text that is not printable, so that text of a request cannot start a new log line."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key not in {"exception", "stack"}:
            event[key] = repr(value)
    return event

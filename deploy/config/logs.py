"""Logs of all processes: coloured on a terminal, JSON elsewhere, always on standard error.

Modules log by `structlog.get_logger().info("router.started", partitions=3)`: an event's name and its facts. Of a URL
only the host may be among them. Libraries that use `logging` come out the same way, from warnings on.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from deploy.config.kafka_log import thin

Format: TypeAlias = Literal["auto", "console", "json"]
# librdkafka's lines are given to this logger by the clients that the roles make.
OWN_LOGGER: Final = "signpost"


def is_json(format_: Format, stream: TextIO) -> bool:
    """Tell whether lines to this stream are JSON."""
    return format_ == "json" or (format_ == "auto" and not stream.isatty())


def configure_logging(level: str = "info", format_: Format = "auto", stream: TextIO | None = None) -> None:
    """Set up structlog and logging; `stream` is standard error by default."""
    out = stream or sys.stderr
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
        cache_logger_on_first_use=False,  # loggers of modules are used before and after a test configures anew
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    thin(handler)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))  # at info, httpx writes the whole URL of each request
    logging.getLogger(OWN_LOGGER).setLevel(threshold)


def _rendering(as_json: bool, *, colors: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The default shows local variables beside a traceback, secrets among them.
    plain = structlog.dev.plain_traceback
    return [_escape, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24, exception_formatter=plain)]


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write text that is not printable as Python does: what somebody sent must not begin a line of its own."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key not in {"exception", "stack"}:
            event[key] = repr(value)
    return event

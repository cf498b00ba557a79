"""Startup of a role: wait until the cluster responds, and fail if its topics are misconfigured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from structlog.typing import FilteringBoundLogger

from consumers.kafka import safety
from consumers.kafka.admin import NotSettled
from consumers.kafka.positions import is_lost_broker
from consumers.kafka.threads import in_thread
from consumers.kafka.topics import check, check_leaders, check_sources
from schemas.catalog.errors import NoResponse, Unavailable
from schemas.records.topics import Topic, TopicNames

# A healthy cluster responds to all requests within a tenth of this.
_SILENT_AFTER_S: Final = 1.0
_RETRY_S: Final = 0.2
_POLL_S: Final = 0.05
_SILENT: Final = "no broker responds"


def await_topics(
    kafka: Mapping[str, str],
    admin: AdminClient,
    wanted: Sequence[Topic],
    names: TopicNames,
    *,
    sources: Sequence[str] = (),
    log: FilteringBoundLogger,
    waiting: Callable[[str | None], None],
    stopping: Callable[[], bool],
) -> bool:
    """Wait until the cluster responds and all topics have leaders; False if `stopping` returned True.

    `waiting` gets the reason to wait (for /readyz and the metric), and None when the wait is over. Unavailable if a
    topic is missing or misconfigured: waiting would not help.
    """

    def request() -> list[str]:
        check(kafka, admin, wanted, names)
        check_sources(admin, sources)
        check_leaders(admin, [*(topic.name for topic in wanted), *sources])
        return safety.warnings(admin, sources)

    report = _ConnectivityReport(log, waiting)
    while not stopping():
        # The requests may block for longer than a supervisor waits for this process to exit, hence the thread.
        warnings = _result(in_thread("startup", request), report, stopping)
        if warnings is not None:
            report(None)
            for warning in warnings:
                log.warning("kafka.misconfigured", warning=warning)
            return True
    return False


class _ConnectivityReport:
    """Passes each reason to `waiting`, and logs when the cluster disconnects and connects."""

    def __init__(self, log: FilteringBoundLogger, waiting: Callable[[str | None], None]) -> None:
        self._log = log
        self._waiting = waiting
        self._reason: str | None = None

    def __call__(self, reason: str | None) -> None:
        if reason is None and self._reason is not None:
            self._log.info("kafka.connected")
        elif reason is not None and self._reason is None:
            self._log.warning("kafka.disconnected", error=reason, waiting=True)
        self._reason = reason
        self._waiting(reason)


def _result(future: Future[list[str]], report: Callable[[str], None], stopping: Callable[[], bool]) -> list[str] | None:
    """Return the result; None if the request has to be repeated, or the process has to stop."""
    since_s = time.monotonic()
    while not wait([future], _POLL_S).done:
        if stopping():
            return None
        if time.monotonic() - since_s > _SILENT_AFTER_S:
            report(_SILENT)
    try:
        return future.result()
    except Unavailable as error:
        if not _is_temporary(error):
            raise
        report(str(error))
    retry_at_s = time.monotonic() + _RETRY_S
    while time.monotonic() < retry_at_s and not stopping():
        time.sleep(_POLL_S)
    return None


def _is_temporary(error: Unavailable) -> bool:
    """Return whether the error may pass without a change of settings or topics."""
    cause = error.__cause__
    if isinstance(cause, KafkaException):
        return isinstance(error, NotSettled) or is_lost_broker(cause.args[0])
    return isinstance(error, NotSettled | NoResponse)

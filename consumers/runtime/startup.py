"""How a role begins: it waits for a cluster that is away, and ends where its topics are not as they must be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumers.runtime import safety
from consumers.runtime.admin import Log, NotSettled
from consumers.runtime.background import in_thread
from consumers.runtime.positions import is_lost_broker
from consumers.runtime.topics import check, check_leaders, check_sources
from schemas.errors import Unavailable
from schemas.topics import Topic, TopicNames

# A cluster that is well answers all questions within a tenth of this.
_SILENT_AFTER_S: Final = 1.0
_ASK_AGAIN_S: Final = 0.2
_LOOK_S: Final = 0.05
_SILENT: Final = "no broker answers"


def await_topics(
    kafka: Mapping[str, str],
    admin: AdminClient,
    wanted: Sequence[Topic],
    names: TopicNames,
    *,
    sources: Sequence[str] = (),
    log: Log,
    waiting: Callable[[str | None], None],
    stopping: Callable[[], bool],
) -> bool:
    """Wait until the cluster answers and all topics have leaders; False if told to stop.

    `waiting` hears why nothing begins (for /readyz and the metric), and None once that is over. Unavailable where a
    topic is missing or wrong: waiting would mend nothing.
    """

    def ask() -> list[str]:
        check(kafka, admin, wanted, names)
        check_sources(admin, sources)
        check_leaders(admin, [*(topic.name for topic in wanted), *sources])
        return safety.warnings(admin, sources)

    tell = _Teller(log, waiting)
    while not stopping():
        # The questions may block for longer than a supervisor waits for our end: they are left alone then.
        warnings = _answer(in_thread("startup", ask), tell, stopping)
        if warnings is not None:
            tell(None)
            for warning in warnings:
                log.warning("kafka.misconfigured", warning=warning)
            return True
    return False


class _Teller:
    """Tells why nothing begins: each time to `waiting`, and to the log when the cluster goes and comes back."""

    def __init__(self, log: Log, waiting: Callable[[str | None], None]) -> None:
        self._log = log
        self._waiting = waiting
        self._reason: str | None = None

    def __call__(self, found: str | None) -> None:
        if found is None and self._reason is not None:
            self._log.info("kafka.connected")
        elif found is not None and self._reason is None:
            self._log.warning("kafka.disconnected", error=found, waiting=True)
        self._reason = found
        self._waiting(found)


def _answer(question: Future[list[str]], tell: Callable[[str], None], stopping: Callable[[], bool]) -> list[str] | None:
    """Return the answer, None where there is none yet: the question is to be asked again, or we are to stop."""
    since_s = time.monotonic()
    while not wait([question], _LOOK_S).done:
        if stopping():
            return None
        if time.monotonic() - since_s > _SILENT_AFTER_S:
            tell(_SILENT)
    try:
        return question.result()
    except Unavailable as error:
        if not _passes(error):
            raise
        tell(str(error))
    again_s = time.monotonic() + _ASK_AGAIN_S
    while time.monotonic() < again_s and not stopping():
        time.sleep(_LOOK_S)
    return None


def _passes(error: Unavailable) -> bool:
    """Tell whether the cluster may answer otherwise without anybody mending anything."""
    cause = error.__cause__
    if isinstance(cause, KafkaException):
        return isinstance(error, NotSettled) or is_lost_broker(cause.args[0])
    return isinstance(error, NotSettled) or isinstance(cause, TimeoutError)

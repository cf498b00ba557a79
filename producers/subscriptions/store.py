"""Subscriptions of an API process: a table in memory that follows the topic, and writes of many requests in batches.

One thread follows the topic and writes. While a batch is written, the next requests wait and become the next batch, so
the number of transactions does not grow with the number of requests.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from producers.compacted.worker import Worker
from producers.subscriptions.changes import AuthoredCommand, Result
from producers.subscriptions.writer import SubscriptionWriter
from schemas.catalog.errors import SignpostError, Unavailable
from schemas.subscriptions.subscription import Subscription

_MAX_BATCH: Final = 500
_MAX_WAITING: Final = 5_000
_FOLLOW_S: Final = 0.02
# An end offset is requested at least this often: an idle topic does not show that its broker is away.
_CHECK_S: Final = 2.0
# A batch of changes may take 15 s while a broker is slow, and the thread reads nothing meanwhile.
_STALE_S: Final = 20.0
_log = structlog.get_logger("api")


class Committed(NamedTuple):
    """A result that was read back. Every process knows it after `acknowledge_after_s`."""

    result: Result
    acknowledge_after_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    command: AuthoredCommand
    done: Future[Committed] = field(default_factory=Future)


class SubscriptionStore:
    """The subscriptions of one process. `submit` may be called by any thread, and so may the reads.

    `on_waiting` gets the reason while the brokers do not respond, and None when they do.
    """

    def __init__(self, writer: SubscriptionWriter, on_waiting: Callable[[str | None], None] = lambda _: None) -> None:
        self._writer = writer
        self._on_waiting = on_waiting
        self._waiting: deque[_Request] = deque()
        self._barriers: deque[Future[None]] = deque()
        self._check_at_s = 0.0
        self._disconnected = False
        self._has_read = False
        self._read_at_s = 0.0
        self._reason: str | None = "the subscriptions have not been read yet"
        self._worker = Worker("subscriptions", self._turn, self._on_unavailable, has_work=lambda: bool(self._waiting))

    def start(self) -> None:
        """Start to read."""
        self._worker.start()

    def stop(self) -> None:
        """Let the thread end. `close` waits for it."""
        self._worker.stop()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._worker.join()
        self._writer.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.is_alive

    @property
    def has_read(self) -> bool:
        """Whether all subscriptions that existed at the start have been read."""
        return self._has_read

    def why_not_ready(self) -> str | None:
        """Return why the table may be old or incomplete, None if it is neither."""
        if self._reason is None and time.monotonic() - self._read_at_s > _STALE_S:
            return f"the subscriptions could not be read for {_STALE_S:g} s"
        return self._reason

    def find(self, id_: str) -> Subscription | None:
        """Return a readable subscription."""
        found = self._writer.log.find(id_)[1]
        return found if isinstance(found, Subscription) else None

    def of_customer(self, sender: str, customer_id: str) -> Sequence[Subscription]:
        """Return the readable subscriptions of a customer, in any order."""
        return self._writer.log.of_customer(sender, customer_id)

    def submit(self, command: AuthoredCommand) -> Future[Committed]:
        """Write a command with the next batch; Unavailable if too many wait.

        The future has the result, or SubscriptionError, SealBroken or Unavailable.
        """
        if len(self._waiting) >= _MAX_WAITING:
            raise Unavailable(f"{_MAX_WAITING:,} changes wait to be written; try again later")
        request = _Request(command)
        self._waiting.append(request)
        return request.done

    def caught_up(self) -> Future[None]:
        """Return a future that is done when all that was committed before this call has been read; Unavailable."""
        done: Future[None] = Future()
        self._barriers.append(done)
        return done

    def _turn(self) -> None:
        if time.monotonic() >= self._check_at_s:
            self._writer.read()
            self._check_at_s = time.monotonic() + _CHECK_S
            self._on_connected()
        if self._barriers:
            self._pass_barriers()
        batch = _next_batch(self._waiting)
        if batch:
            self._write(batch)
        else:
            self._writer.log.follow(_FOLLOW_S)

    def _pass_barriers(self) -> None:
        count = len(self._barriers)  # those that come during the reading wait for the next one
        self._writer.read()
        for _ in range(count):
            barrier = self._barriers.popleft()
            if barrier.set_running_or_notify_cancel():
                barrier.set_result(None)

    def _write(self, batch: Sequence[_Request]) -> None:
        running = [request for request in batch if request.done.set_running_or_notify_cancel()]
        try:
            results = self._writer.write_each([request.command for request in running])
        except BaseException as error:
            for request in running:
                request.done.set_exception(error)
            if isinstance(error, SignpostError):
                return
            raise
        after_s = self._writer.acknowledge_after_s()
        for request, result in zip(running, results, strict=True):
            if isinstance(result, SignpostError):
                request.done.set_exception(result)
            else:
                request.done.set_result(Committed(result, after_s))

    def _on_connected(self) -> None:
        if self._disconnected:
            _log.info("kafka.connected")
        self._disconnected = False
        self._read_at_s = time.monotonic()
        self._has_read = True
        self._reason = None
        self._on_waiting(None)

    def _on_unavailable(self, error: Unavailable) -> None:
        """Answer the requests that wait: their clients know best whether to try again."""
        if not self._disconnected:
            _log.warning("kafka.disconnected", error=str(error))
        self._disconnected = True
        self._reason = str(error)
        self._on_waiting(self._reason)
        for _ in range(len(self._barriers)):
            barrier = self._barriers.popleft()
            if barrier.set_running_or_notify_cancel():
                barrier.set_exception(error)
        for _ in range(len(self._waiting)):
            request = self._waiting.popleft()
            if request.done.set_running_or_notify_cancel():
                request.done.set_exception(error)


def _next_batch(waiting: deque[_Request]) -> list[_Request]:
    """Take the next requests, at most one per id: the second change of a subscription needs the first one's record."""
    batch: list[_Request] = []
    ids: set[str] = set()
    for _ in range(min(len(waiting), _MAX_BATCH)):
        if waiting[0].command.command.id in ids:
            break
        request = waiting.popleft()
        ids.add(request.command.command.id)
        batch.append(request)
    return batch

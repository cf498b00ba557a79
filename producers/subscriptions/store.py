"""Subscriptions of an API process: a table in memory that follows the topic, and writes of many requests in batches.

One thread follows the topic and writes. While a batch is written to a partition, the next requests for that partition
wait and become its next batch, so the number of transactions does not grow with the number of requests. Requests for
other partitions do not wait: each batch is answered when its own records have been read back.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from producers.compacted.worker import Worker
from producers.subscriptions.changes import AuthoredCommand, Result
from producers.subscriptions.writer import EndedCommands, SubscriptionWriter
from schemas.catalog.errors import NoResponse, SignpostError, Unavailable
from schemas.subscriptions.subscription import Subscription

_MAX_BATCH: Final = 500
_MAX_WAITING: Final = 5_000
_FOLLOW_S: Final = 0.02
_CATCHING_UP_S: Final = 0.005  # a request waits
# End offsets are requested at least this often: an idle topic does not show that its broker is away.
_CHECK_S: Final = 2.0
_RETRY_S: Final = 0.2
# From the request for the end offsets until they are read.
_CATCH_UP_S: Final = 15.0
# A check that fails takes 15 s, and the one before it may have ended 2 s earlier.
_STALE_S: Final = 20.0
_log = structlog.get_logger("api")


class Committed(NamedTuple):
    """A result that was read back. Every process knows it after `acknowledge_after_s`."""

    result: Result
    acknowledge_after_s: float


@dataclass(slots=True, eq=False)
class _Request:
    command: AuthoredCommand
    done: Future[Committed] = field(default_factory=Future)
    partition: int | None = None  # None until it has been looked up

    @property
    def id(self) -> str:
        return self.command.command.id


@dataclass(frozen=True, slots=True, eq=False)
class _CatchUp:
    """A reading of all partitions up to their ends. The ends were requested after the barriers had been submitted."""

    barriers: Sequence[Future[None]]
    ends: Future[dict[int, int]]
    deadline_s: float


class SubscriptionStore:
    """The subscriptions of one process. `submit` may be called by any thread, and so may the reads.

    `on_waiting` gets the reason while the brokers do not respond, and None when they do.
    """

    def __init__(self, writer: SubscriptionWriter, on_waiting: Callable[[str | None], None] = lambda _: None) -> None:
        self._writer = writer
        self._on_waiting = on_waiting
        self._waiting: deque[_Request] = deque()
        self._writing: dict[int, list[_Request]] = {}  # by partition
        self._barriers: deque[Future[None]] = deque()
        self._catch_up: _CatchUp | None = None
        self._ends = ThreadPoolExecutor(1, "subscriptions ends")
        self._check_at_s = 0.0
        self._disconnected = False
        self._has_read = False
        self._read_at_s = 0.0
        self._reason: str | None = "the subscriptions have not been read yet"
        self._worker = Worker(
            "subscriptions", self._turn, self._on_unavailable, has_work=lambda: bool(self._waiting or self._writing)
        )

    def start(self) -> None:
        """Start to read."""
        self._worker.start()

    def stop(self) -> None:
        """Let the thread end. `close` waits for it."""
        self._worker.stop()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._worker.join()
        self._fail_all(Unavailable("this process stops"))
        self._ends.shutdown(wait=False, cancel_futures=True)
        self._writer.close()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._worker.is_alive

    @property
    def has_read(self) -> bool:
        """Whether all subscriptions that existed at the start have been read."""
        return self._has_read

    @property
    def receives(self) -> bool:
        """Whether records arrive: a table that may be old is then only behind."""
        return self._writer.log.receives

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
        """Write a command with the next batch of its partition; Unavailable if too many wait.

        The future has the result, or SubscriptionError, SealBroken or Unavailable. A subscription that the table lacks
        is unknown: callers look it up first, with `caught_up` if they do not find it.
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
        if not self._has_read:
            self._writer.read()
            self._on_connected()
        self._begin_to_catch_up()
        try:
            self._begin_batches()
            ended = self._writer.turn(_FOLLOW_S if self._catch_up is None else _CATCHING_UP_S)
            errors = [error for batch in ended if (error := self._answer(batch)) is not None]
            if errors:
                raise errors[0]
            self._end_catching_up()
        except Unavailable:
            raise
        except BaseException as error:
            self._fail_all(error)
            raise

    def _fail_all(self, error: BaseException) -> None:
        """Answer everyone who waits: the thread ends."""
        for requests in self._writing.values():
            _fail(requests, error)
        self._writing.clear()
        _fail_waiting([self._waiting.popleft() for _ in range(len(self._waiting))], error)
        barriers = [self._barriers.popleft() for _ in range(len(self._barriers))]
        _fail_barriers([*barriers, *(self._catch_up.barriers if self._catch_up else ())], error)
        self._catch_up = None

    def _begin_to_catch_up(self) -> None:
        """Request the end offsets for a check, or for the barriers that wait. Later ones wait for the next request."""
        now_s = time.monotonic()
        if self._catch_up is not None or not (self._barriers or now_s >= self._check_at_s):
            return
        barriers = [self._barriers.popleft() for _ in range(len(self._barriers))]
        self._catch_up = _CatchUp(barriers, self._ends.submit(self._writer.log.ends), now_s + _CATCH_UP_S)

    def _end_catching_up(self) -> None:
        """Pass the barriers once the table has been read up to the end offsets."""
        catch_up = self._catch_up
        if catch_up is None:
            return
        try:
            if catch_up.ends.done() and self._has_read_to(catch_up.ends.result()):
                self._catch_up = None
                self._on_connected()
                for barrier in catch_up.barriers:
                    if barrier.set_running_or_notify_cancel():
                        barrier.set_result(None)
            elif time.monotonic() > catch_up.deadline_s:
                raise Unavailable(f"{self._writer.log.topic} could not be read to its end within {_CATCH_UP_S:g} s")
        except Unavailable as error:
            self._catch_up = None
            self._check_at_s = time.monotonic() + _RETRY_S
            self._on_disconnected(error)
            _fail_barriers(catch_up.barriers, error)

    def _has_read_to(self, ends: Mapping[int, int]) -> bool:
        return all(self._writer.log.has_read(partition, end) for partition, end in ends.items())

    def _begin_batches(self) -> None:
        """Begin a batch for each partition without one.

        A batch has at most one request per id: the second change of a subscription needs the record of the first one.
        """
        if not self._waiting:
            return
        batches: dict[int, list[_Request]] = {}
        ahead = {request.id: partition for partition, requests in self._writing.items() for request in requests}
        left: list[_Request] = []
        for _ in range(len(self._waiting)):
            request = self._waiting.popleft()
            if request.id in ahead:
                request.partition = ahead[request.id]
                left.append(request)
            elif self._is_placed(request):
                partition = ahead[request.id] = request.partition or 0
                batch = batches.setdefault(partition, [])
                (left if partition in self._writing or len(batch) >= _MAX_BATCH else batch).append(request)
        self._waiting.extendleft(reversed(left))
        begun: dict[int, list[_Request]] = {}
        for partition, batch in batches.items():
            if running := [request for request in batch if request.done.set_running_or_notify_cancel()]:
                begun[partition] = running
        self._writing |= begun
        for partition, running in begun.items():
            self._writer.begin_each(partition, [request.command for request in running])

    def _is_placed(self, request: _Request) -> bool:
        """Return whether a request has a partition, which is looked up unless a batch of that one is under way."""
        if request.partition is not None and request.partition in self._writing:
            return True
        try:
            request.partition = self._writer.partition_for(request.command.command)
        except SignpostError as error:
            _fail_waiting([request], error)
            return False
        return True

    def _answer(self, ended: EndedCommands) -> Exception | None:
        """Answer the requests of a batch; return an error that is none of theirs."""
        for request, result in zip(self._writing.pop(ended.partition), ended.results, strict=True):
            if isinstance(result, Result):
                request.done.set_result(Committed(result, ended.acknowledge_after_s))
            else:
                request.done.set_exception(result)
        for result in ended.results:
            if isinstance(result, NoResponse):
                self._refuse_waiting(ended.partition)
                break
            if isinstance(result, Exception) and not isinstance(result, SignpostError):
                return result
        return None

    def _refuse_waiting(self, partition: int) -> None:
        """Fail the requests that wait for a partition without responses. Their clients may repeat them."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._waiting.extendleft(request for request in reversed(waiting) if request.partition != partition)
        refused = [request for request in waiting if request.partition == partition]
        _fail_waiting(refused, NoResponse("nothing was written: an earlier change to its partition got no response"))

    def _on_connected(self) -> None:
        if self._disconnected:
            _log.info("kafka.connected")
        self._disconnected = False
        self._read_at_s = time.monotonic()
        self._check_at_s = self._read_at_s + _CHECK_S
        self._has_read = True
        self._reason = None
        self._on_waiting(None)

    def _on_disconnected(self, error: Unavailable) -> None:
        if not self._disconnected:
            _log.warning("kafka.disconnected", error=str(error))
        self._disconnected = True
        self._reason = str(error)
        self._on_waiting(self._reason)

    def _on_unavailable(self, error: Unavailable) -> None:
        """Fail the requests that wait while the topic cannot be read. Their clients may repeat them."""
        self._on_disconnected(error)
        _fail_barriers([self._barriers.popleft() for _ in range(len(self._barriers))], error)
        _fail_waiting([self._waiting.popleft() for _ in range(len(self._waiting))], error)


def _fail(requests: Sequence[_Request], error: BaseException) -> None:
    for request in requests:
        request.done.set_exception(error)


def _fail_waiting(requests: Sequence[_Request], error: BaseException) -> None:
    _fail([request for request in requests if request.done.set_running_or_notify_cancel()], error)


def _fail_barriers(barriers: Sequence[Future[None]], error: BaseException) -> None:
    for barrier in barriers:
        if barrier.set_running_or_notify_cancel():
            barrier.set_exception(error)

"""Test deliveries: one attempt each, made while the caller waits, and logged on the topic `tests`.

    send ─► waiting ─► HTTP client ─► record on `tests` ─► result with its log id

The HTTP client is that of deliveries, with the same rules for URLs and addresses. It belongs to the thread of
`InlineDeliveries`; `send` may be called from any thread. There is no retry, and redirects are not followed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from consumers.delivery.classification import Classified, classify
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import CompletedRequest, Request, TransportError
from consumers.delivery.request_builder import attempt_headers
from consumers.kafka.append_log import AppendLog
from schemas.catalog.errors import InvalidInput, SealBroken, Unavailable, UnreadableRecord
from schemas.catalog.failures import SHORT
from schemas.input.durations import milliseconds
from schemas.network.egress import EgressPolicy, Target
from schemas.records.logged_test import LoggedTest, encode_test, log_id
from schemas.senders.sender import Sender
from schemas.subscriptions.subscription import Subscription

_log = structlog.get_logger("api")
_POLL_S: Final = 0.05
_TIDY_S: Final = 5.0
_TOO_MANY: Final = "too many test deliveries are under way; nothing was sent"
_STOPPING: Final = "the process is stopping; nothing was sent"


class NotStarted(Unavailable):
    """Nothing was sent."""


class NotLogged(Unavailable):
    """The attempt was made, but its record could not be written: it has no log id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineDelivery:
    """A rendered test event and its URL. The secrets of `subscription` sign it; None: it is not signed."""

    sender: str
    customer_id: str
    key_id: str
    url: str
    event_id: str
    body: bytes
    subscription: Subscription | None = None
    event_type: str = "test"
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class InlineResult:
    """The end of an attempt. Without an HTTP response `status` is None and `reason` says why, in a few words."""

    log_id: int
    status: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InlineLimits:
    """Attempts at the same time, in all and of one customer, and how many may wait, in all and of one customer."""

    at_once: int = 16
    of_customer: int = 4
    waiting: int = 256
    waiting_of_customer: int = 16


@dataclass(slots=True, eq=False)
class _Task:
    """A delivery under way. It has the values of an attempt that headers may contain."""

    delivery: InlineDelivery
    sender: Sender
    target: Target
    endpoint: Endpoint | None
    timeout_ms: int
    starts_until_s: float
    result: Future[InlineResult]
    started_ms: int = 0

    @property
    def job_id(self) -> str:
        return self.delivery.event_id

    @property
    def event_id(self) -> str:
        return self.delivery.event_id

    @property
    def event_type(self) -> str:
        return self.delivery.event_type

    @property
    def customer_id(self) -> str:
        return self.delivery.customer_id

    @property
    def subscription_id(self) -> str:
        return self.endpoint.subscription_id if self.endpoint is not None else ""

    @property
    def owner(self) -> tuple[str, str]:
        return self.delivery.sender, self.delivery.customer_id


class InlineDeliveries:
    """Makes test deliveries. `clock` is in Unix ms, `monotonic` in seconds; `log` is the topic `tests`."""

    def __init__(
        self,
        *,
        client: HttpClient,
        log: AppendLog,
        senders: Mapping[str, Sender],
        policy: EgressPolicy,
        endpoint_of: Callable[[Subscription], Endpoint],
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        limits: InlineLimits = InlineLimits(),
    ) -> None:
        self._client = client
        self._appends = log
        self._senders = senders
        self._policy = policy
        self._endpoint_of = endpoint_of
        self._clock = clock
        self._monotonic = monotonic
        self._limits = limits
        self._lock = threading.Lock()
        self._closes_at: float | None = None
        self._accepted: SimpleQueue[_Task | None] = SimpleQueue()
        # Everything below belongs to the thread.
        self._waiting: deque[_Task] = deque()
        self._running: dict[_Task, None] = {}
        self._of_customer: Counter[tuple[str, str]] = Counter()
        self._thread = threading.Thread(target=self._run, name="test deliveries", daemon=True)
        self._thread.start()

    def send(self, delivery: InlineDelivery) -> Future[InlineResult]:
        """Make a delivery. The attempt has the timeout of the sender, and waits at most as long for its start.

        InvalidInput: the URL is not allowed. NotStarted: nothing was sent. Both are raised at once or by the result,
        which may also raise NotLogged.
        """
        target = self._policy.check_url(delivery.url)
        sender = self._senders.get(delivery.sender)
        if sender is None:
            raise NotStarted(f"the sender {delivery.sender} is not loaded; nothing was sent")
        endpoint = None if delivery.subscription is None else self._opened(delivery.subscription)
        timeout_ms = milliseconds(sender.timeout)
        until_s = self._monotonic() + timeout_ms / 1_000
        task = _Task(delivery, sender, target, endpoint, timeout_ms, until_s, Future())
        with self._lock:  # the client must not be closed when it is woken
            if self._closes_at is not None:
                raise NotStarted(_STOPPING)
            self._accepted.put(task)
            self._client.wake()
        return task.result

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self, wait_s: float = 0.0) -> None:
        """Start nothing more, and wait up to `wait_s` for the attempts under way. Does not close the log."""
        with self._lock:
            if self._closes_at is None:
                self._closes_at = self._monotonic() + wait_s
                self._accepted.put(None)
                self._client.wake()
        self._thread.join()

    def _opened(self, subscription: Subscription) -> Endpoint:
        try:
            return self._endpoint_of(subscription)
        except (SealBroken, UnreadableRecord, InvalidInput) as error:
            _log.warning("test_delivery.refused", subscription=subscription.id, reason=str(error))
            raise NotStarted("the secrets of the webhook cannot be opened; nothing was sent") from error

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._lock:
                self._closes_at = self._closes_at or self._monotonic()
            self._accept(0.0)
            self._refuse_waiting(lambda _: True, _STOPPING)
            for task in self._running:
                task.result.set_exception(NotLogged("the process stopped before the test delivery ended"))
            self._client.close()

    def _turn(self) -> bool:
        """Accept, start and end deliveries; False at the end of the thread."""
        is_idle = not self._running and not self._waiting
        if is_idle and self._closes_at is not None:
            return False
        self._accept(_TIDY_S if is_idle else 0.0)
        now_s = self._monotonic()
        if self._closes_at is not None:
            self._refuse_waiting(lambda _: True, _STOPPING)
            if now_s >= self._closes_at:
                return False
        self._refuse_waiting(lambda task: task.starts_until_s <= now_s, _TOO_MANY)
        while (task := self._next()) is not None:
            self._start(task)
        if self._client.is_busy:
            polled = self._client.poll(_POLL_S)
            for request in polled.to_confirm:
                self._client.confirm(request)
            for completed in polled.completed:
                self._on_completed(completed)
        else:
            self._client.tidy()
        return True

    def _accept(self, timeout_s: float) -> None:
        """Take the deliveries that `send` has accepted; wait up to `timeout_s` for the first."""
        try:
            task = self._accepted.get(timeout=timeout_s) if timeout_s else self._accepted.get_nowait()
            while True:
                if task is not None:
                    self._queue(task)
                task = self._accepted.get_nowait()
        except Empty:
            pass
        while len(self._waiting) > self._limits.waiting + self._limits.at_once - len(self._running):
            self._refuse(self._waiting.pop(), _TOO_MANY)

    def _queue(self, task: _Task) -> None:
        """Let a delivery wait. A customer whose endpoints are silent must not fill the queue."""
        free = self._limits.of_customer - self._of_customer[task.owner]
        waiting = sum(other.owner == task.owner for other in self._waiting)
        if waiting - free >= self._limits.waiting_of_customer:
            self._refuse(task, _TOO_MANY)
        else:
            self._waiting.append(task)

    def _next(self) -> _Task | None:
        """Remove and return the next delivery that may start."""
        if len(self._running) >= self._limits.at_once:
            return None
        for number, task in enumerate(self._waiting):
            if self._of_customer[task.owner] < self._limits.of_customer:
                del self._waiting[number]
                return task
        return None

    def _start(self, task: _Task) -> None:
        if not task.result.set_running_or_notify_cancel():
            return
        now_ms = self._clock()
        task.started_ms = now_ms
        try:
            request = _request_of(task, now_ms)
        except Exception as error:  # one delivery must not end the thread
            task.result.set_exception(error)
            return
        self._running[task] = None
        self._of_customer[task.owner] += 1
        self._client.start(request)

    def _on_completed(self, completed: CompletedRequest) -> None:
        task: _Task = completed.request.context
        del self._running[task]
        self._of_customer[task.owner] -= 1
        if not self._of_customer[task.owner]:
            del self._of_customer[task.owner]
        response = completed.response
        classified = classify(response, self._clock())
        if classified.error == "cancelled":  # too many names are looked up
            task.result.set_exception(NotStarted(_TOO_MANY))
            return
        test = _test_of(task, classified, completed.duration_us)
        detail = response.detail if isinstance(response, TransportError) else ""
        try:
            appended = self._appends.append(encode_test(test))
        except Exception as error:  # as above
            task.result.set_exception(error)
        else:
            appended.add_done_callback(partial(_on_logged, task, test, detail))

    def _refuse_waiting(self, is_refused: Callable[[_Task], bool], reason: str) -> None:
        refused = [task for task in self._waiting if is_refused(task)]
        for task in refused:
            self._waiting.remove(task)
            self._refuse(task, reason)

    def _refuse(self, task: _Task, reason: str) -> None:
        if task.result.set_running_or_notify_cancel():
            task.result.set_exception(NotStarted(reason))


def _request_of(task: _Task, now_ms: int) -> Request:
    body, endpoint = task.delivery.body, task.endpoint
    if endpoint is None:
        return Request(task.target, task.sender.headers(task, body, (), now_ms // 1_000), body, task.timeout_ms, task)
    headers = attempt_headers(task, body, endpoint, now_ms)
    return Request(task.target, headers, body, task.timeout_ms, task, endpoint.client_certificate)


def _test_of(task: _Task, classified: Classified, duration_us: int) -> LoggedTest:
    delivery = task.delivery
    return LoggedTest(
        at_ms=task.started_ms,
        key_id=delivery.key_id,
        sender=delivery.sender,
        customer_id=delivery.customer_id,
        subscription_id=task.subscription_id or None,
        host=task.target.host,
        event_id=delivery.event_id,
        status=classified.status,
        error=classified.error,
        duration_us=duration_us,
    )


def _on_logged(task: _Task, test: LoggedTest, detail: str, appended: Future[int]) -> None:
    """End a delivery whose record was written, or could not be written."""
    error = appended.exception()
    number = None if error is not None else log_id(appended.result())
    _log.info(
        "test_delivery.attempted",
        log_id=number,
        key_id=test.key_id,
        request_id=task.delivery.request_id,
        subscription=test.subscription_id,
        customer=test.customer_id,
        host=test.host,
        sender=test.sender,
        event_id=test.event_id,
        status=test.status,
        error=test.error,
        detail=detail,
        duration_ms=test.duration_us // 1_000,
    )
    reason = SHORT[test.error] if test.error is not None else ""
    if number is not None:
        task.result.set_result(InlineResult(number, test.status, reason))
        return
    end = f"HTTP {test.status}" if test.status is not None else reason
    task.result.set_exception(NotLogged(f"the test delivery was attempted ({end}), but has no log id: {error}"))

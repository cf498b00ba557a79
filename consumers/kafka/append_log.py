"""Appends single records to a topic of one partition and returns the offset of each.

Transactions would leave gaps, because their markers take offsets. An idempotent producer leaves none: a record that it
sends again is on the topic once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from schemas.catalog.errors import Unavailable

# How long a record may wait for the brokers.
TIMEOUT_S: Final = 10.0
# The client ends a record in time, unless it has lost the request.
_LOST_AFTER_S: Final = 5.0
_POLL_S: Final = 1.0


class AppendLog:
    """A topic of one partition. Any thread may append; a thread of this object collects the acknowledgements.

    After a fatal error, or a record that never ends, the producer is replaced by a new one.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        topic: str,
        *,
        timeout_s: float = TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        own: dict[str, Any] = {
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(timeout_s * 1_000),
            "linger.ms": 0,  # someone waits for each record
        }
        self._config = {**kafka, **own}
        self._lock = threading.Lock()
        self._producer = self._new_producer()
        self._pending: dict[Future[int], float] = {}  # to the time when they are lost
        self._is_closed = False
        self._thread = threading.Thread(target=self._collect, name=f"append to {topic}", daemon=True)
        self._thread.start()

    def append(self, value: bytes) -> Future[int]:
        """Append a record. The result is its offset; Unavailable if the brokers do not acknowledge it in time.

        In the second case the record may be on the topic.
        """
        appended: Future[int] = Future()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            self._end(appended, message.offset() if error is None else error)

        with self._lock:
            self._pending[appended] = self._monotonic() + self._timeout_s + _LOST_AFTER_S
            producer = self._producer
        if self._is_closed:
            self._end(appended, KafkaError(KafkaError._DESTROY))
            return appended
        try:
            producer.produce(self._topic, value, partition=0, on_delivery=on_delivery)
        except CLIENT_ERRORS as error:
            self._end(appended, reason_of(error))
        except BufferError:  # the brokers have acknowledged nothing for a long time
            self._end(appended, KafkaError(KafkaError._QUEUE_FULL))
        return appended

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Wait until each record is acknowledged or has failed. Records that are appended later fail."""
        self._is_closed = True
        self._thread.join()
        with suppress(*CLIENT_ERRORS):
            self._producer.flush(self._timeout_s)
        self._fail_pending(KafkaError(KafkaError._DESTROY))

    def _collect(self) -> None:
        while not self._is_closed:
            try:
                self._producer.poll(_POLL_S)
            except CLIENT_ERRORS as error:  # fatal: this producer sends nothing any more
                self._renew(reason_of(error))
            if self._has_lost_record():  # later records of this producer would wait for it
                self._renew(KafkaError(KafkaError._MSG_TIMED_OUT))

    def _renew(self, error: KafkaError) -> None:
        with self._lock:
            self._producer = self._new_producer()
        self._fail_pending(error)

    def _has_lost_record(self) -> bool:
        now_s = self._monotonic()
        with self._lock:
            return any(lost_s < now_s for lost_s in self._pending.values())

    def _new_producer(self) -> Producer:
        # Without an error_cb `poll` might not raise fatal errors. The logger gets all others.
        return Producer({**self._config, "error_cb": lambda _: None}, logger=logging.getLogger("signpost.kafka"))

    def _fail_pending(self, error: KafkaError) -> None:
        with self._lock:
            pending = list(self._pending)
        for appended in pending:
            self._end(appended, error)

    def _end(self, appended: Future[int], result: int | KafkaError | None) -> None:
        """Set the result of a record, once."""
        with self._lock:
            if appended not in self._pending:
                return
            del self._pending[appended]
        if isinstance(result, int):
            appended.set_result(result)
        else:
            reason = "no offset" if result is None else result.str()
            appended.set_exception(Unavailable(f"{self._topic} could not be written: {reason}"))

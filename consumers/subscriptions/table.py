"""The compacted topic `subscriptions` as a table in memory: read from its beginning, then followed.

    table.poll(now_ms)                      # each turn of the role's loop
    if table.current and table.is_fresh(now_ms):
        found = table.lookup(job.subscription_id, job.subscription_partition, job.subscription_offset)

state.py decides which records are effective, staleness.py whether the table may be used. This module talks to the
broker. Nothing blocks: partitions and end offsets are requested as futures. The table waits for a broker that is down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import structlog
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import EARLIEST, LATEST, count_partitions, list_offsets
from consumers.kafka.pending import Pending
from consumers.subscriptions.staleness import GRACE_MS, MAX_STALENESS_MS, Staleness
from consumers.subscriptions.state import Entry, Interpret, TableState, Unusable
from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.records.topics import TopicNames
from schemas.settings.kafka_properties import whole_topic_config
from schemas.subscriptions.subscription import Subscription, decode_subscription

T = TypeVar("T")

log = structlog.get_logger("table")

# The maximum number of records per turn: about 10 ms if each has a secret to unseal.
BATCH: Final = 256
# The interval of polls while no record arrives, well under the bound of staleness.py.
POLL_EVERY_MS: Final = 5
# A later response would verify nothing (staleness.py).
REQUEST_TIMEOUT_S: Final = GRACE_MS / 1_000
WARN_EVERY_MS: Final = 10_000
LOG_SLOW_EVERY_MS: Final = 60_000

_TUNING: Final[dict[str, str | int]] = {"queued.max.messages.kbytes": 4096}
_OWN: Final[dict[str, str | int | bool]] = {
    # A response within 200 ms needs short waits (staleness.py).
    "fetch.wait.max.ms": 50,
    "fetch.min.bytes": 1,
}


def read_subscription(key: str, value: bytes) -> Subscription:
    """Decode a record of the topic `subscriptions`; UnreadableRecord also if its key is not its id."""
    subscription = decode_subscription(value)
    if subscription.id != key:
        raise UnreadableRecord("invalid_value", "the record's key is not the id in its value")
    return subscription


class SubscriptionTable(Generic[T]):
    """The table of `subscriptions` for one role, used by one thread.

    `kafka` are the properties of the connection. `interpret` returns the value that the role keeps of a record.
    `on_change` gets each id with a new effective entry (None: no entry), in the order of the records. `topic` is
    another compacted topic to follow instead.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        names: TopicNames,
        interpret: Interpret[T],
        on_change: Callable[[str, Entry[T] | None], None],
        topic: str | None = None,
    ) -> None:
        self.state = TableState(interpret)
        self.lookup = self.state.lookup  # of subscriptions; called for each job, so without a forwarding method
        self._staleness = Staleness()
        self._on_change = on_change
        self._topic = topic or names.subscriptions
        logger = logging.getLogger("signpost.kafka")
        config = whole_topic_config(kafka, f"{names.prefix}table", tuning=_TUNING, own=_OWN)
        self._consumer = Consumer(config, logger=logger)
        self._admin = AdminClient({**kafka}, logger=logger)
        self._partitions: list[tuple[str, int]] = []
        self._beginnings: Pending[tuple[str, int], int] | None = None
        self._assigned = False
        self._described: Pending[str, int] | None = None
        self._describe_at_ms = 0
        self._requests: dict[int, Pending[tuple[str, int], int]] = {}
        self._poll_at_ms = 0
        self._warn_at_ms = 0
        self._log_slow_at_ms = 0

    @property
    def current(self) -> bool:
        """Whether the table has read all records that existed when the role started."""
        return self._staleness.verified

    def is_fresh(self, now_ms: int) -> bool:
        """Whether the table may be used now (promise 7); call it right after `poll`."""
        return self._staleness.is_fresh(now_ms)

    def receives(self, now_ms: int) -> bool:
        """Whether records arrive: a table that is not fresh is then behind, and the brokers respond."""
        return self._staleness.receives(now_ms)

    def staleness_ms(self, now_ms: int) -> int:
        """Return for how long it is unknown whether the table is complete; while it is read first, since it began."""
        return self._staleness.age_ms(now_ms)

    def barrier(self) -> int:
        """Return a barrier, which is `passed` once the table has read all records that are on the topic now."""
        return self._staleness.last_requested_ms

    def passed(self, barrier: int) -> bool:
        """Whether the table has reached an end offset requested after the barrier: a record it lacks does not exist."""
        return self._staleness.verified_ms > barrier

    def get(self, id_: str) -> Entry[T] | None:
        """Return the effective entry of a subscription, as far as the table has read."""
        return self.state.get(id_)

    def has(self, id_: str) -> bool:
        """Whether there is a record of a subscription, readable or not."""
        return self.state.get(id_) is not None or bool(self.state.partitions_of(id_))

    def unusable(self) -> dict[str, Unusable]:
        """Return the subscriptions that have only an unusable record."""
        return self.state.unusable()

    @property
    def partition_count(self) -> int:
        """Number of partitions of the topic; 0 until the broker has responded."""
        return len(self._partitions)

    def __len__(self) -> int:
        return len(self.state)

    def poll(self, now_ms: int) -> None:
        """Read records that have arrived, and request the end offsets if due; `now_ms` is monotonic.

        Unavailable if the topic has lost records that the table has read: the role has to restart.
        """
        if not self._assigned:
            self._staleness.begin(now_ms)
            self._find_beginnings(now_ms)
            return
        self._collect(now_ms)
        if self._staleness.is_due(now_ms):
            self._request_ends(now_ms)
        if now_ms >= self._poll_at_ms:
            self._read(now_ms)
        self._staleness.on_advance(self.state.positions)
        self._log_slow(now_ms)

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _find_beginnings(self, now_ms: int) -> None:
        """Request the partitions, then their first offsets, then read from there.

        With OFFSET_BEGINNING the client looks up the offsets itself, half a second later.
        """
        if not self._partitions:
            self._find_partitions(now_ms)
        elif self._beginnings is None:
            if now_ms >= self._describe_at_ms:
                self._beginnings = list_offsets(
                    self._admin, self._partitions, EARLIEST, IsolationLevel.READ_UNCOMMITTED, REQUEST_TIMEOUT_S
                )
        elif self._beginnings.is_over(now_ms / 1_000):
            beginnings, self._beginnings = self._beginnings, None
            try:
                offsets = beginnings.responses()
            except KafkaException as error:
                self._retry_later(now_ms, error)
                self._partitions = []  # describing the topic also refreshes the leaders that the client knows
                return
            self._consumer.assign([TopicPartition(*key, offset) for key, offset in offsets.items()])
            self._assigned = True

    def _find_partitions(self, now_ms: int) -> None:
        if self._described is None:
            if now_ms >= self._describe_at_ms:
                self._describe()
        elif self._described.is_over(now_ms / 1_000):
            described, self._described = self._described, None
            try:
                count = described.responses()[self._topic]
            except KafkaException as error:
                self._retry_later(now_ms, error)
                return
            self._partitions = [(self._topic, number) for number in range(count)]

    def _retry_later(self, now_ms: int, error: KafkaException) -> None:
        self._describe_at_ms = now_ms + 500
        self._log_failure(now_ms, _name_of(error))

    def _log_slow(self, now_ms: int) -> None:
        """Log once a minute that the broker is slow or silent."""
        if now_ms >= self._log_slow_at_ms and self._staleness.is_slow(now_ms):
            self._log_slow_at_ms = now_ms + LOG_SLOW_EVERY_MS
            log.warning("kafka.slowed", topic=self._topic, slower_than_ms=MAX_STALENESS_MS)

    def _describe(self) -> None:
        self._described = count_partitions(self._admin, [self._topic], REQUEST_TIMEOUT_S)

    def _request_ends(self, now_ms: int) -> None:
        self._staleness.on_request(now_ms)
        self._requests[now_ms] = list_offsets(
            self._admin, self._partitions, LATEST, IsolationLevel.READ_COMMITTED, REQUEST_TIMEOUT_S
        )

    def _collect(self, now_ms: int) -> None:
        now_s = now_ms / 1_000
        for requested_at_ms, request in list(self._requests.items()):
            if not request.is_over(now_s):
                continue
            del self._requests[requested_at_ms]
            try:
                ends = {number: offset for (_, number), offset in request.responses().items()}
            except KafkaException:
                self._staleness.on_error(requested_at_ms)
                # After a broker restart the client keeps the leaders that it knew, and its requests fail
                # (FENCED_LEADER_EPOCH) until it refreshes its metadata, as it does here.
                if self._described is None or self._described.is_over(now_s):
                    self._describe()
            else:
                self._staleness.on_response(requested_at_ms, ends, now_ms)

    def _read(self, now_ms: int) -> None:
        messages = self._consumer.consume(BATCH, 0)
        if not messages:
            self._poll_at_ms = now_ms + POLL_EVERY_MS
        for message in messages:
            error = message.error()
            if error is None:
                self._staleness.on_receive(now_ms)
                self._apply(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._staleness.on_receive(now_ms)
                self.state.advance(_int(message.partition()), _int(message.offset()))
            else:
                self._on_error(now_ms, error)

    def _apply(self, message: Message) -> None:
        # A key that is not UTF-8 is no id; the backslashes keep it apart from all ids.
        key = (message.key() or b"").decode("utf-8", "backslashreplace")
        partition, offset = _int(message.partition()), _int(message.offset())
        applied = self.state.apply(partition, offset, key, message.value())
        if applied.unusable is not None:
            kept = applied.after is not None
            reason = applied.unusable.reason
            place = {"topic": self._topic, "partition": partition, "offset": offset}
            log.error("record.rejected", id=key, reason=reason, earlier_kept=kept, **place)
        if applied.changed:
            self._on_change(key, applied.after)
        partitions = self.state.partitions_of(key)
        if len(partitions) > 1:
            log.error("table.conflict_detected", id=key, partitions=partitions, effective=partitions[0])

    def _on_error(self, now_ms: int, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
            raise Unavailable(
                f"{self._topic} has lost records that this process has read ({error.name()}): restart the role, "
                "so that it reads the topic again"
            )
        self._log_failure(now_ms, error.name())

    def _log_failure(self, now_ms: int, error: str) -> None:
        if now_ms >= self._warn_at_ms:
            self._warn_at_ms = now_ms + WARN_EVERY_MS
            log.warning("table.fetch_failed", topic=self._topic, error=error)


def _name_of(error: KafkaException) -> str:
    cause = error.args[0] if error.args else None
    return cause.name() if isinstance(cause, KafkaError) else str(error)


def _int(number: int | None) -> int:
    """Return the partition or offset of a consumed message, which has both."""
    return -1 if number is None else number

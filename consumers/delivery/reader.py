"""Reads the tiers: takes partitions over, hands on what is due, and pauses what is not.

Nothing waits in a rebalance callback but the end of the transaction under way: `on_assign` assigns nothing, and the
real assignment follows when the positions are known.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumers.delivery.assignment import Assignment
from consumers.delivery.health import HealthBook
from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.outbox import Outbox
from consumers.delivery.progress import MAX_BATCH
from consumers.delivery.takeover import Known, Takeover
from consumers.runtime.admin import CLIENT_ERRORS, reason_of
from consumers.runtime.background import in_thread
from consumers.runtime.positions import PartitionKey, PositionsQuery, failed_for_good, is_lost_broker, refuse_hopeless
from consumers.runtime.truncation import Truncation
from schemas.errors import Unavailable

_log = structlog.get_logger("delivery")
_CLOSE_S: Final = 2.0
Take = Callable[[Lane, Message, int], None]
Settle = Callable[[object], None]
_OVERTAKEN: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class Reader:
    """The consumer of all tiers.

    `take` gets each record that is due and not finished, with the time in ms. `settle` is called with the group's
    metadata before partitions go: it commits what happened in them, within a second. `overtaken` hears what retention
    took before it was read; what it adds to the outbox is committed with the position.
    """

    def __init__(
        self,
        *,
        consumer: Consumer,
        takeover: Takeover,
        health: HealthBook,
        assignment: Assignment,
        outbox: Outbox,
        take: Take,
        settle: Settle,
        overtaken: Callable[[Truncation, Lane], None],
    ) -> None:
        self._consumer = consumer
        self._takeover = takeover
        self._health = health
        self._assignment = assignment
        self._outbox = outbox
        self._take = take
        self._settle = settle
        self._overtaken = overtaken
        self._pattern = ""
        self._lacks = False  # partitions of a tier are not assigned that should be
        self._missed: list[PartitionKey] = []  # what was lacking when that was looked at last
        self._emptied = False  # an assignment without anything to read is to be taken note of
        self._assigned: list[PartitionKey] = []
        self._query: PositionsQuery[Known] | None = None
        self._waking: list[tuple[int, int, Lane]] = []
        self._number = 0
        self._full: list[Lane] = []
        self.group_metadata: object = None
        self.lost = False  # the session ended, and nothing has been assigned since

    @property
    def lanes(self) -> dict[PartitionKey, Lane]:
        """The lanes that are ours."""
        return self._assignment.lanes

    @property
    def owns(self) -> bool:
        """Whether partitions are ours, and read."""
        return bool(self._assignment.lanes)

    @property
    def takes_over(self) -> bool:
        """Whether positions are being asked for."""
        return self._query is not None

    @property
    def awaited_s(self) -> float:
        """For how long positions have been asked for; 0 if they are not."""
        return 0.0 if self._query is None else self._query.awaited_s(time.monotonic())

    @property
    def next_wake_ms(self) -> int | None:
        """When the next paused lane is due."""
        return self._waking[0][0] if self._waking else None

    def subscribe(self, pattern: str) -> None:
        """Join the group for all topics of the pattern."""
        self._pattern = pattern
        self._consumer.subscribe([pattern], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def take_over(self) -> bool:
        """Go on with a takeover; True once it is complete, which is the time to drop what was lost."""
        if self._lacks:
            self._subscribe_anew()
            return False
        if self._emptied:
            self._emptied = False
            self._install(Known({}, {}))
            return True
        if self._query is None:
            return False
        known = self._query.poll(time.monotonic())
        if known is None:
            return False
        self._query = None
        self._install(known)
        self._look_for_lacking()  # now it is known which topics there are
        return True

    def _install(self, known: Known) -> None:
        taken = self._assignment.take(known.positions)
        self._health.keep({lane.partition for lane in taken.lanes} - taken.anew)
        for number in taken.anew:
            self._health.load(number, known.health[number])
        self._outbox.prune()  # or what it holds for others would count as uncommitted until the next commit
        for lost in taken.overtaken:
            _log.error(
                "partition.truncated",
                topic=lost.topic,
                partition=lost.partition,
                lost_from=lost.lost_from,
                lost_to=lost.begin - 1,
                count=lost.count,
            )
            lane = self._assignment.lanes[lost.topic, lost.partition]
            self._overtaken(lost, lane)
            self._outbox.touch(lane)  # to be reported once
        for lane in taken.lanes:
            if known.positions[lane.topic, lane.partition].offset is None:
                self._outbox.touch(lane)  # what a new tier loses later is known only once it has a position
        self._waking, self._full = [], []
        places = [TopicPartition(lane.topic, lane.partition, lane.progress.next_offset) for lane in taken.lanes]
        if places:
            self._consumer.assign(places)
            self._consumer.resume(places)  # a pause survives a revocation
        _log.info("delivery.assigned", partitions=len(places), numbers=sorted({lane.partition for lane in taken.lanes}))

    def _look_for_lacking(self) -> None:
        lacking = self._assignment.lacking(self._assigned, self._takeover.topics)
        if lacking and lacking != self._missed:  # once: whoever has them may not know the tier yet
            self._lacks = True
            _log.warning("delivery.lacking", partitions=[f"{topic}-{number}" for topic, number in lacking])
        self._missed = lacking

    def _subscribe_anew(self) -> None:
        """Make the group look at our topics: a static member that comes back with more of them goes unnoticed.

        The coordinator gives it what it had before, without a rebalance (KAFKA-12759), and nobody would read a tier
        that was made while all processes were restarted.
        """
        self._lacks = False
        self._consumer.unsubscribe()
        self.subscribe(self._pattern)

    def wake(self, now_ms: int) -> None:
        """Resume lanes whose head is due, and full ones that have room again."""
        waking: list[Lane] = []
        while self._waking and self._waking[0][0] <= now_ms:
            lane = heapq.heappop(self._waking)[2]
            if lane.is_over(now_ms):
                lane.resumed(now_ms)
                waking.append(lane)
        if self._full:
            roomy = [lane for lane in self._full if lane.has_room_again()]
            for lane in roomy:
                self._full.remove(lane)
                lane.paused_full = False
            waking += roomy
        places = [_place(lane) for lane in waking if lane.ownership is Ownership.OURS and not lane.paused]
        if places:
            self._consumer.resume(places)

    def read(self, timeout_s: float, limit: int, clock: Callable[[], int]) -> None:
        """Read up to `limit` records (256 at most), waiting for the first one for up to `timeout_s`."""
        messages = self._poll(timeout_s, limit)
        now_ms = clock()
        lanes = self._assignment.lanes
        for message in messages:
            if message.error() is not None:
                self._on_error(message.error(), message)
                if lanes is not self._assignment.lanes:
                    return  # the partitions are being taken over anew
                continue
            lane = lanes.get((message.topic(), message.partition()))  # type: ignore[arg-type]  # a consumed message has both
            if lane is not None and not lane.paused:
                self._read_record(lane, message, now_ms)

    def ignore(self, timeout_s: float) -> None:
        """Keep up the membership of the group without taking anything."""
        for message in self._poll(timeout_s, 1):
            if message.error() is not None:
                self._on_error(message.error(), message)

    def close(self) -> None:
        """Leave the group (a static member is expected back: it does not say so).

        A coordinator that does not answer can hold this up for minutes; the process ends all the same.
        """
        wait([in_thread("close", self._consumer.close)], _CLOSE_S)

    def _poll(self, timeout_s: float, limit: int) -> list[Message]:
        try:
            message = self._consumer.poll(timeout_s)
            if message is None or limit <= 1:
                return [] if message is None else [message]
            return [message, *self._consumer.consume(min(limit, MAX_BATCH) - 1, 0)]
        except CLIENT_ERRORS as error:
            raise Unavailable(failed_for_good(reason_of(error))) from None

    def _read_record(self, lane: Lane, message: Message, now_ms: int) -> None:
        offset = message.offset()
        assert offset is not None
        progress = lane.progress
        if offset < progress.next_offset:
            return
        if lane.wait_for_head(message.timestamp()[1], now_ms):
            assert lane.resume_at_ms is not None
            self._pause(lane, offset)
            self._number += 1
            heapq.heappush(self._waking, (lane.resume_at_ms, self._number, lane))
            return
        if lane.take(offset):
            self._take(lane, message, now_ms)
        else:
            self._outbox.touch(lane)
        if progress.full:
            lane.paused_full = True
            self._full.append(lane)
            self._pause(lane, progress.next_offset)

    def _pause(self, lane: Lane, offset: int) -> None:
        # What was fetched beyond is dropped; the seek makes the next fetch begin at the record that has to wait.
        self._consumer.pause([_place(lane)])
        self._consumer.seek(TopicPartition(lane.topic, lane.partition, offset))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([])
        self.lost = False
        self.group_metadata = consumer.consumer_group_metadata()
        self._assigned = [(partition.topic, partition.partition) for partition in partitions]
        keys = self._assignment.owned(self._assigned)
        self._query = PositionsQuery(self._takeover.fetch, keys) if keys else None
        self._emptied = not keys
        self._look_for_lacking()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._query = None
        self._settle(self.group_metadata)
        self._assignment.suspend()
        _log.info("delivery.revoked", partitions=len(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._query = None
        self._assignment.suspend()
        self.lost = True
        _log.warning("delivery.lost", partitions=len(partitions))

    def _on_error(self, error: KafkaError | None, message: Message) -> None:
        assert error is not None
        refuse_hopeless(error, message.topic())
        if error.code() in _OVERTAKEN:
            self._on_overtaken(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            lane = self._assignment.lanes.get((message.topic(), message.partition()))  # type: ignore[arg-type]  # has both
            if lane is not None:
                lane.log_end = message.offset() or 0
        elif not is_lost_broker(error):
            # Too long a pause between polls (the partitions come back), a tier that was deleted, a broken batch.
            _log.warning("delivery.reader", topic=message.topic(), error=error.str())

    def _on_overtaken(self, message: Message) -> None:
        """Take the partition over anew: its position is no longer in the log."""
        _log.warning("delivery.out_of_range", topic=message.topic(), partition=message.partition())
        self._settle(self.group_metadata)
        self._assignment.suspend()
        self._consumer.assign([])
        keys = self._assignment.owned(self._assigned)
        self._query = PositionsQuery(self._takeover.fetch, keys)


def _place(lane: Lane) -> TopicPartition:
    return TopicPartition(lane.topic, lane.partition)

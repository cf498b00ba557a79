"""Hanging transactions, which have no end marker on a partition. The owner of the transactional id aborts them.

A broker that shuts down in order hands over its partitions first. If no other broker has a replica, a transaction that
ends at that moment gets no end marker in its partitions but counts as complete (Kafka 4.3.1: "Couldn't find leader
endpoint for partitions … likely deleted already and hence can be skipped"). From then on its records hide all later
records from read_committed readers, and its offsets stay pending. The next transaction of the same id in the same
partitions would end it, but a process that waits for the offsets never begins one.

The end marker of an aborted transaction is lost in the same way if a broker restarts after a kill: its coordinator
works before its partitions do.

Sweep is that next transaction: it writes to every partition and is aborted. This aborts the hanging records together
with their offsets, so nothing is lost, and the work is done once more. Sweep runs if positions stay pending, and before
the records of an uncommitted batch are written again: otherwise the next commit would also make the hanging records
visible. It does not run if the offsets were committed: then the next commit completes the hanging records.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from consumers.kafka.threads import in_thread

# Brokers end an open transaction after its timeout (10 s) and their next check for expired ones (every 10 s).
HANGING_AFTER_S: Final = 30.0
_CALL_S: Final = 5.0
_ALL_S: Final = 20.0
_log = structlog.get_logger("transaction")
_client_log = logging.getLogger("signpost.kafka")


class Sweep:
    """Aborts a transaction over all partitions of `topics` and a position of the group (`place`)."""

    def __init__(self, kafka: Mapping[str, str], group: str, place: TopicPartition, topics: Iterable[str]) -> None:
        self._own = {**kafka, "group.id": group, "enable.auto.commit": False}
        self._place = place
        self._topics = tuple(topics)

    def through(self, producer: Producer, topics: Iterable[str] | None = None, call_s: float = _CALL_S) -> None:
        """End hanging transactions of a producer's id, while none is open; blocks, and raises the errors of the calls.

        `topics`: the topics of the hanging transaction, if known. `call_s` is the timeout of each call.
        """
        found = producer.list_topics(timeout=call_s).topics
        producer.begin_transaction()
        for topic in self._topics if topics is None else topics:
            for partition in found[topic].partitions if topic in found else ():
                producer.produce(topic, b"", partition=partition)
        # The position is never committed: the transaction only has to reach the offsets of the group.
        consumer = Consumer(self._own, logger=_client_log)
        try:
            producer.send_offsets_to_transaction([self._place], consumer.consumer_group_metadata(), call_s)
        finally:
            consumer.close()
        producer.flush(call_s)
        producer.abort_transaction(call_s)

    def by_successor(self, config: Mapping[str, Any]) -> bool:
        """End hanging transactions of a producer with this configuration, and fence it; blocks for up to 20 s.

        False if the broker does not respond.
        """
        task = in_thread("hanging", self._by_successor, config)
        wait([task], _ALL_S)  # a call may never return
        if not task.done():
            return False
        try:
            task.result()
        except CLIENT_ERRORS as error:
            _log.warning("hanging_transaction.abort_failed", error=str(reason_of(error)))
            return False
        _log.warning("hanging_transaction.aborted")
        return True

    def _by_successor(self, config: Mapping[str, Any]) -> None:
        producer = Producer(dict(config), logger=_client_log)
        producer.list_topics(timeout=_CALL_S)
        producer.init_transactions(_CALL_S)
        self.through(producer)

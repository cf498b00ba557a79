"""Hanging transactions, without an end on a partition: aborted by the process whose transactional id they have.

A broker that is stopped in order gives its partitions away first. Where no other broker has a replica, a transaction
that ends in that moment gets no end marker in its partitions, and counts as complete (Kafka 4.3.1: "Couldn't find
leader endpoint for partitions … likely deleted already and hence can be skipped"). From then on its records hide all
later ones from read_committed readers, and its offsets stay pending, without end: the next transaction of its id in the
same partitions would end it, but a process that waits for the offsets never begins one.

The same happens to the end of an aborted transaction when a broker restarts after a kill: its coordinator works before
its partitions do.

Sweep is such a transaction: it writes to every partition, and is aborted. It aborts the hanging records with the
offsets that belong to them, so that nothing is lost; what they recorded is done once more. Sweep runs where positions
stay pending, and before records of an uncommitted batch are written again: the next commit would else make the hanging
records visible, too. It does not run where the offsets were committed: there the next commit completes them.
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

# An open transaction is ended by its timeout (10 s) and the brokers' look for such ones (every 10 s).
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
        """End what hangs of a producer's id, in which it has nothing open; blocks, raises as the calls do.

        `topics`: those that it may hang in, where that is known; each call is given `call_s`.
        """
        found = producer.list_topics(timeout=call_s).topics
        producer.begin_transaction()
        for topic in self._topics if topics is None else topics:
            for partition in found[topic].partitions if topic in found else ():
                producer.produce(topic, b"", partition=partition)
        # Never committed, whatever it says: what counts is that the transaction reaches the group's offsets.
        consumer = Consumer(self._own, logger=_client_log)
        try:
            producer.send_offsets_to_transaction([self._place], consumer.consumer_group_metadata(), call_s)
        finally:
            consumer.close()
        producer.flush(call_s)
        producer.abort_transaction(call_s)

    def by_successor(self, config: Mapping[str, Any]) -> bool:
        """End what hangs of the id of a producer with this configuration, which is fenced; blocks for up to 20 s.

        False where the broker does not answer.
        """
        task = in_thread("hanging", self._by_successor, config)
        wait([task], _ALL_S)  # a call can hang without end
        if not task.done():
            return False
        try:
            task.result()
        except CLIENT_ERRORS as error:
            _log.warning("hanging_transaction.not_aborted", error=str(reason_of(error)))
            return False
        _log.warning("hanging_transaction.aborted")
        return True

    def _by_successor(self, config: Mapping[str, Any]) -> None:
        producer = Producer(dict(config), logger=_client_log)
        producer.list_topics(timeout=_CALL_S)
        producer.init_transactions(_CALL_S)
        self.through(producer)

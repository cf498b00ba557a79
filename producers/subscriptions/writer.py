"""The single writer of subscriptions.

A compacted topic has no compare-and-set. Therefore all subscriptions of a customer are on one partition, and each
partition has one transactional id. A writer initializes that id, which fences the previous writer; then it reads the
partition to its end, decides, writes and commits. A writer that was fenced or got no response starts again with the
same request ids, and recognises by them the records that it has written already. A change is acknowledged some time
after it was read back (acknowledgement.py).
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.subscriptions.acknowledgement import acknowledge_after_s
from producers.subscriptions.changes import (
    Apply,
    Change,
    Command,
    Current,
    Delete,
    PlannedCommand,
    Result,
    Rotate,
    Unreadable,
)
from producers.subscriptions.decider import Decider, is_own, is_sealed_by
from producers.subscriptions.limits import check_limits
from producers.subscriptions.log import SubscriptionLog
from producers.subscriptions.sealed_fields import sealed_in
from schemas.catalog.errors import SealBroken, SubscriptionError, Unavailable
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames
from schemas.senders.sender import Sender
from schemas.subscriptions.sealing import ADD_THE_KEY, Sealer
from schemas.subscriptions.subscription import Subscription, encode_subscription

# Records per transaction. A transaction contains whole customers: after a failure each customer is done or untouched.
BATCH: Final = 500
_CALL_S: Final = 10.0
_BACKOFF_S: Final = (0.02, 0.2)
_TUNING: Final[dict[str, str | int]] = {"linger.ms": 0, "compression.type": "lz4"}
_OWN: Final[dict[str, str | int | bool]] = {
    "acks": "all",
    "enable.idempotence": True,
    "transaction.timeout.ms": 5_000,
    # Nearly every transaction waits for one backoff (CONCURRENT_TRANSACTIONS); the default is 100 ms.
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
}
_HOPELESS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)


@dataclass(frozen=True, slots=True)
class Environment:
    """Clock, sleep and randomness."""

    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = field(default=random.SystemRandom().uniform)
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)


class SubscriptionWriter:
    """Writes subscriptions, and reads them for commands that write.

    `sealer` is needed only if a secret is given or generated. `timeout_s`: how long a batch is retried before
    Unavailable.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        names: TopicNames,
        senders: Mapping[str, Sender],
        sealer: Sealer | None,
        *,
        environment: Environment | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._kafka = kafka
        self._names = names
        self._senders = senders
        self._sealer = sealer
        self._environment = environment or Environment()
        self._timeout_s = timeout_s
        self._read_back_s = 0.0  # the maximum
        self._decider = Decider(names.subscriptions, senders, sealer)
        self.log = SubscriptionLog(
            kafka,
            names.subscriptions,
            monotonic=self._environment.monotonic,
            sleep=self._environment.sleep,
            timeout_s=timeout_s,
        )

    def read(self) -> SubscriptionLog:
        """Read up to the current end of committed records."""
        self.log.read()
        return self.log

    def plan(self, commands: Sequence[Command]) -> list[Result]:
        """Return the results that `write` would have with the records read last; SubscriptionError has all errors."""
        return [result for _, _, result in self._plan(commands)]

    def write(self, commands: Sequence[Command], on_written: Callable[[Result], None] = lambda _: None) -> list[Result]:
        """Execute commands, at most one per id, and return their results after the acknowledgement.

        `on_written` gets each result as soon as it is committed, including generated secrets. Nothing is written if a
        command is invalid against the records read first (SubscriptionError with all errors, SealBroken). If a command
        becomes invalid later through another writer, the batches before it stay written.
        """
        self.read()
        results: dict[str, Result] = {}
        work: list[tuple[int, str, PlannedCommand]] = []
        for planned_command, partition, result in self._plan(commands):
            if result.effect == "unchanged":
                results[planned_command.command.id] = result
                on_written(result)
            else:
                work.append((partition, self._customer(planned_command, partition), planned_command))
        for partition, planned_commands in groupby(sorted(work, key=lambda item: item[:2]), key=lambda item: item[0]):
            for result in self._write_partition(partition, list(_batches(planned_commands))):
                results[result.id] = result
                on_written(result)
        if work:
            self._environment.sleep(acknowledge_after_s(self._read_back_s))
        return [results[command.id] for command in commands]

    def close(self) -> None:
        """Close the connections to the broker."""
        self.log.close()

    def _plan(self, commands: Sequence[Command]) -> list[tuple[PlannedCommand, int, Result]]:
        planned: list[tuple[PlannedCommand, int, Result]] = []
        problems: list[str] = []
        now_ms = self._now_ms()
        for command in commands:
            planned_command = self._plan_one(command)
            try:
                partition, current = self._where(command)
                planned.append((planned_command, partition, self._decider.decide(planned_command, current, now_ms)))
            except SubscriptionError as error:
                problems.extend(error.problems)
        if problems:
            raise SubscriptionError(*problems)
        check_limits((found for _, found in self.log.items()), [result for _, _, result in planned], self._senders)
        if any(
            result.subscription and is_sealed_by(planned_command, result.subscription)
            for planned_command, _, result in planned
        ):
            self._check_key()
        return planned

    def _plan_one(self, command: Command) -> PlannedCommand:
        sender = self._senders.get(self._sender_name(command))
        made = sender.generate_secret() if sender is not None else None
        return PlannedCommand(command, self._environment.new_id(), f"sec_{self._environment.new_id()}", made)

    def _sender_name(self, command: Command) -> str:
        """Return the sender of a command that may need a secret; otherwise an empty string."""
        if isinstance(command, Apply):
            return command.draft.sender
        current = self.log.find(command.id)[1] if isinstance(command, Change | Rotate) else None
        return current.sender if isinstance(current, Subscription) else ""

    def _where(self, command: Command) -> tuple[int, Current]:
        """Return the partition to write to, and the current record."""
        found_on, current = self.log.find(command.id)
        if not isinstance(command, Apply) or isinstance(current, Subscription):
            return found_on, current
        partition = partition_of(command.draft.customer_id, self.log.partitions)
        if isinstance(current, Unreadable) and found_on != partition:
            raise SubscriptionError(
                f"subscription {command.id}: its record on partition {found_on} cannot be read, but customer "
                f"{command.draft.customer_id} is on partition {partition}; delete the subscription first"
            )
        return partition, current

    def _customer(self, planned_command: PlannedCommand, partition: int) -> str:
        if isinstance(planned_command.command, Apply):
            return planned_command.command.draft.customer_id
        current = self.log.on(partition, planned_command.command.id)
        return current.customer_id if isinstance(current, Subscription) else ""

    def _check_key(self) -> None:
        """Refuse to seal with a key that opens none of the present secrets: delivery could not open the new ones."""
        present = (found for _, found in self.log.items() if isinstance(found, Subscription))
        sealed = [each.sealed for found in present for each in sealed_in(found)]
        if self._sealer is not None and sealed and not any(self._sealer.has_key_of(each) for each in sealed):
            raise SealBroken(
                f"the sealing key {self._sealer.key_names} opens none of the present secrets of this installation; "
                f"{ADD_THE_KEY}"
            )

    def _write_partition(self, partition: int, batches: list[list[PlannedCommand]]) -> Iterator[Result]:
        """Yield the results of the batches in order, each after its records have been read back."""
        tried: dict[str, Result] = {}
        deadline = self._environment.monotonic() + self._timeout_s
        while batches:
            try:
                producer = self._take_over(partition)
                while batches:
                    yield from self._write_batch(producer, partition, batches[0], tried)
                    del batches[0]
                    deadline = self._environment.monotonic() + self._timeout_s
            except (KafkaException, Unavailable) as error:
                cause = _cause(error)
                if cause.code() in _HOPELESS or self._environment.monotonic() > deadline:
                    raise Unavailable(
                        f"{self._names.subscriptions} could not be written: {cause}; unconfirmed changes may have been "
                        "written: run the same command again"
                    ) from error
                self._environment.sleep(self._environment.uniform(*_BACKOFF_S))

    def _take_over(self, partition: int) -> Producer:
        """Fence the previous writer of the partition, and read all that it committed."""
        transactional_id = {"transactional.id": f"{self._names.prefix}subscriptions.{partition}"}
        # The calls raise all errors. Without an error_cb, callbacks would raise them too.
        own = {**_OWN, **transactional_id, "error_cb": lambda _: None}
        producer = Producer({**_TUNING, **self._kafka, **own}, logger=logging.getLogger("signpost.kafka"))
        # Without all metadata, librdkafka looks up the coordinator on a timer of 500 ms; metadata of a single topic is
        # sometimes not enough.
        producer.list_topics(timeout=_CALL_S)
        producer.init_transactions(_CALL_S)
        self.log.read_all_of(partition)
        return producer

    def _write_batch(
        self, producer: Producer, partition: int, planned_commands: list[PlannedCommand], tried: dict[str, Result]
    ) -> list[Result]:
        results = [
            self._decide(planned_command, self.log.on(partition, planned_command.command.id), tried)
            for planned_command in planned_commands
        ]
        records = [result for result, is_new in results if is_new]
        if records:
            check_limits(self.log.all_on(partition), records, self._senders)
            # From here on the records may be committed, even if an error is reported.
            tried |= {result.id: result for result in records}
            written = self._commit(producer, partition, records)
            started_s = self._environment.monotonic()
            self.log.read_to({partition: max(written) + 1})
            self._read_back_s = max(self._read_back_s, self._environment.monotonic() - started_s)
        return [result for result, _ in results]

    def _decide(
        self, planned_command: PlannedCommand, current: Current, tried: dict[str, Result]
    ) -> tuple[Result, bool]:
        """Return the result, and whether it has a record to write."""
        before = tried.get(planned_command.command.id)
        if before is not None and (
            is_own(planned_command, current) or (current is None and isinstance(planned_command.command, Delete))
        ):
            return before, False
        result = self._decider.decide(planned_command, current, self._now_ms())
        return result, result.effect != "unchanged"

    def _commit(self, producer: Producer, partition: int, results: list[Result]) -> list[int]:
        """Write the records in one transaction and return their offsets."""
        offsets: list[int] = []
        failed: list[KafkaError] = []

        def reported(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is not None:
                failed.append(error)
            elif offset is not None:
                offsets.append(offset)

        producer.begin_transaction()
        try:
            for result in results:
                value = None if result.subscription is None else encode_subscription(result.subscription)
                topic = self._names.subscriptions
                producer.produce(topic, key=result.id, value=value, partition=partition, on_delivery=reported)
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            if _cause(error).txn_requires_abort():
                # An open transaction blocks every reader of the partition until the broker ends it.
                producer.abort_transaction(_CALL_S)
            if failed:
                raise KafkaException(failed[0]) from error
            raise
        return offsets

    def _now_ms(self) -> int:
        return int(self._environment.clock() * 1000)


def _batches(work: Iterator[tuple[int, str, PlannedCommand]]) -> Iterator[list[PlannedCommand]]:
    """Group whole customers into batches of about BATCH records."""
    batch: list[PlannedCommand] = []
    for _, of_customer in groupby(work, key=lambda item: item[1]):
        planned_commands = [planned_command for _, _, planned_command in of_customer]
        if batch and len(batch) + len(planned_commands) > BATCH:
            yield batch
            batch = []
        batch = batch + planned_commands
    if batch:
        yield batch


def _cause(error: KafkaException | Unavailable) -> KafkaError:
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError._FAIL, str(error))

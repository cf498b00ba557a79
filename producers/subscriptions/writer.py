"""The single writer of subscriptions.

A compacted topic has no compare-and-set. Therefore all subscriptions of a customer are on one partition, and a writer
has exclusive access to the partition while it decides and writes (producers/compacted/partition_owner.py). A writer
that was fenced or got no response starts again with the same request ids, and recognises by them the records that it
has written already. A change is acknowledged some time after it was read back (producers/compacted/acknowledgement.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from producers.compacted.acknowledgement import acknowledge_after_s
from producers.compacted.author import Author
from producers.compacted.environment import Environment
from producers.compacted.log import Unreadable
from producers.compacted.partition_owner import KeyedRecord, PartitionOwner, SideRecord, Write
from producers.subscriptions.audit import audit_record
from producers.subscriptions.changes import (
    Apply,
    AuthoredCommand,
    Change,
    Command,
    Current,
    Delete,
    PlannedCommand,
    Result,
    Rotate,
)
from producers.subscriptions.decider import Decider, existing, is_own, is_sealed_by
from producers.subscriptions.limits import check_limits
from producers.subscriptions.log import SubscriptionLog
from producers.subscriptions.sealed_fields import sealed_in
from schemas.catalog.errors import SealBroken, SignpostError, SubscriptionError
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames
from schemas.senders.sender import Sender
from schemas.subscriptions.sealing import ADD_THE_KEY, Sealer
from schemas.subscriptions.subscription import Subscription, encode_subscription

# Records per transaction. A transaction contains whole customers: after a failure each customer is done or untouched.
BATCH: Final = 500

_R = TypeVar("_R", Result, Result | SignpostError)


@dataclass(slots=True)
class _Batch(Generic[_R]):
    """Commands of one transaction. `authors` and `results` are in their order, `results` as decided last.

    `tried` are results whose records may be committed, even if an error was reported.
    """

    partition: int
    commands: list[PlannedCommand]
    authors: list[Author]
    results: list[_R] = field(default_factory=list)
    tried: dict[str, Result] = field(default_factory=dict)


_DecideEach: TypeAlias = Callable[[_Batch[_R]], list[tuple[_R, bool]]]


class EndedCommands(NamedTuple):
    """Commands of one partition that have ended: the result or the error of each, in their order.

    The results are committed and read back. Every process knows them `acknowledge_after_s` later.
    """

    partition: int
    results: Sequence[Result | Exception]
    acknowledge_after_s: float


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
        fetch_wait_ms: int = 10,
    ) -> None:
        self._names = names
        self._senders = senders
        self._sealer = sealer
        self._environment = environment or Environment()
        self._timeout_s = timeout_s
        self._under_way: dict[int, _Batch[Result | SignpostError]] = {}  # by partition
        self._decider = Decider(names.subscriptions, senders, sealer)
        self._has_key_of_present = False
        self.log = SubscriptionLog(
            kafka,
            names.subscriptions,
            monotonic=self._environment.monotonic,
            sleep=self._environment.sleep,
            timeout_s=timeout_s,
            fetch_wait_ms=fetch_wait_ms,
        )
        self._owner = PartitionOwner(
            kafka,
            self.log,
            lambda partition: f"{names.prefix}subscriptions.{partition}",
            monotonic=self._environment.monotonic,
            uniform=self._environment.uniform,
            timeout_s=timeout_s,
        )

    def read(self) -> SubscriptionLog:
        """Read up to the current end of committed records."""
        self.log.read()
        return self.log

    def plan(self, commands: Sequence[Command]) -> list[Result]:
        """Return the results that `write` would have with the records read last; SubscriptionError has all errors."""
        return [result for _, _, result in self._plan(commands)]

    def write(
        self, commands: Sequence[Command], author: Author, on_written: Callable[[Result], None] = lambda _: None
    ) -> list[Result]:
        """Execute commands, at most one per id, and return their results after the acknowledgement.

        The transaction of a change also has its audit record, with `author`. `on_written` gets each result as soon as
        it is committed, including generated secrets. Nothing is written if a command is invalid against the records
        read first (SubscriptionError with all errors, SealBroken). If a command becomes invalid later through another
        writer, the batches before it stay written.
        """
        self.read()
        longest_s = 0.0
        results: dict[str, Result] = {}
        work: list[tuple[int, str, PlannedCommand]] = []
        for planned_command, partition, result in self._plan(commands):
            if result.effect == "unchanged":
                results[planned_command.command.id] = result
                on_written(result)
            else:
                work.append((partition, self._customer(planned_command, partition), planned_command))
        for partition, planned_commands in groupby(sorted(work, key=lambda item: item[:2]), key=lambda item: item[0]):
            for commands_of_batch in _batches(planned_commands):
                batch: _Batch[Result] = _Batch(partition, commands_of_batch, [author] * len(commands_of_batch))
                read_back_s = self._owner.write(partition, partial(self._decide_batch, batch, self._decide_all))
                longest_s = max(longest_s, read_back_s)
                for result in batch.results:
                    results[result.id] = result
                    on_written(result)
        if work:
            self._environment.sleep(acknowledge_after_s(longest_s))
        return [results[command.id] for command in commands]

    def partition_for(self, command: Command) -> int:
        """Return the partition to write a command to, as far as the log has read; SubscriptionError if there is none.

        A subscription that the log lacks is unknown: callers read up to the end first if they have not seen it.
        """
        partition, current = self._where(command)
        if partition < 0:
            existing(command.id, current)
        return partition

    def begin_each(self, partition: int, commands: Sequence[AuthoredCommand]) -> None:
        """Begin to execute independent commands of one partition, at most one per id, in one transaction.

        Its records include the audit record of each change. The partition must have no other ones under way.
        """
        planned_commands = [self._plan_one(one.command) for one in commands]
        batch: _Batch[Result | SignpostError] = _Batch(partition, planned_commands, [one.author for one in commands])
        self._under_way[partition] = batch
        self._owner.begin(partition, partial(self._decide_batch, batch, self._decide_each))

    def turn(self, wait_s: float) -> list[EndedCommands]:
        """Read new records, and continue what `begin_each` began; wait at most `wait_s` for a record or a response.

        Returns the commands that have ended. A partition whose leader does not respond delays no other one. Unavailable
        if nothing is under way, and the topic cannot be read.
        """
        ended: list[EndedCommands] = []
        for partition, end in self._owner.turn(wait_s).items():
            batch = self._under_way.pop(partition)
            if isinstance(end, Exception):
                ended.append(EndedCommands(partition, [end] * len(batch.commands), 0.0))
            else:
                ended.append(EndedCommands(partition, batch.results, acknowledge_after_s(end)))
        return ended

    def close(self) -> None:
        """Close the connections to the broker."""
        self._owner.close()
        self.log.close()

    def _plan(self, commands: Sequence[Command]) -> list[tuple[PlannedCommand, int, Result]]:
        planned: list[tuple[PlannedCommand, int, Result]] = []
        errors: list[SubscriptionError] = []
        now_ms = self._now_ms()
        for command in commands:
            planned_command = self._plan_one(command)
            try:
                partition, current = self._where(command)
                planned.append((planned_command, partition, self._decider.decide(planned_command, current, now_ms)))
            except SubscriptionError as error:
                errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else SubscriptionError(*(one for e in errors for one in e.problems))
        check_limits(self.log.of_customer, [result for _, _, result in planned], self._senders)
        for planned_command, _, result in planned:
            self._check_sealing(planned_command, result)
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

    def _check_sealing(self, planned_command: PlannedCommand, result: Result) -> None:
        """Refuse to seal with a key that opens none of the present secrets: delivery could not open the new ones."""
        if self._sealer is None or self._has_key_of_present:
            return
        if result.subscription is None or not is_sealed_by(planned_command, result.subscription):
            return
        present = (found for _, found in self.log.items() if isinstance(found, Subscription))
        sealed = [each.sealed for found in present for each in sealed_in(found)]
        if sealed and not any(self._sealer.has_key_of(each) for each in sealed):
            raise SealBroken(
                f"the sealing key {self._sealer.key_names} opens none of the present secrets of this installation; "
                f"{ADD_THE_KEY}"
            )
        self._has_key_of_present = bool(sealed)

    def _decide_batch(self, batch: _Batch[_R], decide: _DecideEach[_R]) -> Write:
        """Decide the commands of a batch into its results; return what has to be written."""
        decisions = decide(batch)
        batch.results[:] = [result for result, _ in decisions]
        new = [
            (result, author)
            for author, (result, is_new) in zip(batch.authors, decisions, strict=True)
            if is_new and isinstance(result, Result)
        ]
        batch.tried.update({result.id: result for result, _ in new})
        audits = [self._audit(batch.partition, result, author) for result, author in new]
        return Write([KeyedRecord(result.id, _value_of(result)) for result, _ in new], audits)

    def _audit(self, partition: int, result: Result, author: Author) -> SideRecord:
        before = self.log.on(partition, result.id)
        return audit_record(self._names.operations, result, before, author, self._now_ms())

    def _decide_all(self, batch: _Batch[Result]) -> list[tuple[Result, bool]]:
        """Return the results, and whether each has a record to write; SubscriptionError if one is not possible."""
        decisions = [self._decide(batch, planned_command) for planned_command in batch.commands]
        check_limits(self.log.of_customer, [result for result, is_new in decisions if is_new], self._senders)
        return decisions

    def _decide_each(self, batch: _Batch[Result | SignpostError]) -> list[tuple[Result | SignpostError, bool]]:
        """Return the result or the error of each command, and whether it has a record to write."""
        decisions: list[tuple[Result | SignpostError, bool]] = []
        written: list[Result] = []
        for planned_command in batch.commands:
            try:
                result, is_new = self._decide(batch, planned_command)
                if is_new:
                    check_limits(self.log.of_customer, [*written, result], self._senders)
                    self._check_sealing(planned_command, result)
                    written.append(result)
                decisions.append((result, is_new))
            except SignpostError as error:
                decisions.append((error, False))
        return decisions

    def _decide(self, batch: _Batch[_R], planned_command: PlannedCommand) -> tuple[Result, bool]:
        """Return the result, and whether it has a record to write."""
        current = self.log.on(batch.partition, planned_command.command.id)
        before = batch.tried.get(planned_command.command.id)
        if before is not None and (
            is_own(planned_command, current) or (current is None and isinstance(planned_command.command, Delete))
        ):
            return before, False
        result = self._decider.decide(planned_command, current, self._now_ms())
        return result, result.effect != "unchanged"

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


def _value_of(result: Result) -> bytes | None:
    return None if result.subscription is None else encode_subscription(result.subscription)

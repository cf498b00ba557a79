"""A model of two router processes in one group: start, kill, stall, rebalance."""

from __future__ import annotations

from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.router.source_recovery import StartAt
from tests.support.router_model import Broker, RouterProcess


class Routers:
    """The processes of the group; `quiet` is the number of turns without further events in the group."""

    broker: Broker
    start_at: StartAt
    quiet: int

    def start_with(self, broker: Broker, start_at: StartAt) -> None:
        """Begin without a process."""
        self.broker, self.start_at = broker, start_at
        self.processes: list[RouterProcess | None] = [None, None]
        self.unaware: set[int] = set()  # stalled processes, whose partitions are assigned to others
        self.ends_before: dict[PartitionKey, int] = {}  # ends of the logs at the last rebalance

    def moves(self) -> None:
        """Called before a rebalance assigns partitions to other processes."""

    def key(self, part: int) -> PartitionKey:
        keys = sorted(self.broker.logs)
        return keys[part % len(keys)]

    def found(self) -> dict[PartitionKey, PartitionOffsets]:
        away = self.broker.away
        self.broker.away = False
        found = self.broker.found(sorted(self.broker.logs))
        self.broker.away = away
        return found

    def alive(self) -> list[RouterProcess]:
        return [process for process in self.processes if process is not None]

    def stop(self) -> None:
        for number in (0, 1):
            self.end(number)

    def go_on(self, starts: bool) -> None:
        """Start one process, or leave all stopped."""
        self.quiet = 2 * starts
        if starts:
            self.start(0)
            self.rebalance()

    def start(self, number: int) -> None:
        self.processes[number] = RouterProcess(self.broker, self.start_at)

    def end(self, number: int) -> None:
        """Kill a process: unsent records are lost, commits that it had sent still arrive."""
        process = self.processes[number]
        self.processes[number] = None
        self.unaware.discard(number)
        if process is not None:
            while process.consumer.sent:
                process.consumer.arrive()
        self.rebalance()

    def rebalance(self, turned: bool = False) -> None:
        """Revoke all partitions of the processes that do not stall, and assign the partitions to them again."""
        members = [one for number, one in enumerate(self.processes) if one is not None and number not in self.unaware]
        for one in members:
            one.consumer.gone("on_revoke")
        self.moves()
        self.broker.generation += 1
        self.ends_before = {key: log.end for key, log in self.broker.logs.items()}
        for position, one in enumerate(members):
            keys = [
                key for key in sorted(self.broker.logs) if key[1] % len(members) == (position ^ turned) % len(members)
            ]
            one.consumer.assigned(self.broker.generation, keys)

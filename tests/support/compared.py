"""Faulty endpoints of one kind beside healthy ones, on a delivery process of their own in the long form."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.dev.broker import Broker
from schemas.records.partitioner import partition_of
from tests.support.dns import SILENCE, DnsServer
from tests.support.ends import rewrites
from tests.support.pipeline import Pipeline
from tests.support.players import Players
from tests.support.roles import RoleStarter
from tests.support.scenario import Endpoint, Scenario
from tests.support.table import Row
from tests.support.windows import Side, Windows, in_turns, per_second

# Retries soon enough for a test, in delay topics that are there; enough of them that nothing is given up.
SCHEDULE_S = (5, 5, 5, 20, 20, 20, 60, 60, 60, 300)
MOST_PER_SECOND = 2_000
OF_FULL_SPEED = 0.4


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `timeout_s` is that of the faulty endpoints."""

    name: str
    healthy: int
    windows: Windows
    timeout_s: int
    is_long: bool


@dataclass(frozen=True, slots=True)
class Case:
    """How so many endpoints misbehave, and which failures that is; those that hang are cut off when they are mended.

    They get `once` jobs at the beginning, else a tenth of what the healthy ones get. Healthy ones that stand behind
    a flood in its partition are counted apart: reading past it takes its time.
    """

    name: str
    how: str
    kinds: tuple[str, ...]
    endpoints: Callable[[Size], int]
    once: Callable[[Size], int] | None = None
    is_flood: bool = False


class Dns:
    """Answers to no name that begins with `silent`, until the third part of it is well."""

    def __init__(self) -> None:
        self.well: set[str] = set()
        self.server = DnsServer(self._zone)

    def _zone(self, name: str, _asked: int) -> list[str]:
        is_silent = name.startswith("silent") and name.split(".")[1] not in self.well
        return [SILENCE] if is_silent else ["127.0.0.1"]


@dataclass(slots=True)
class World:
    """What all tests of this file share."""

    broker: Broker
    prefix: str
    start_role: RoleStarter
    shared: Pipeline
    healthy: Players
    faulty: Players
    dns: Dns
    sides: dict[str, Side] = field(default_factory=dict)
    windows: dict[str, Windows] = field(default_factory=dict)
    compared: dict[str, Compared] = field(default_factory=dict)

    def side(self, size: Size, name: str = "alone") -> Side:
        """Return a delivery process with healthy endpoints; in the short form one is all sides."""
        name = f"{name}-{size.name}" if size.is_long else size.name
        if name not in self.sides:
            pipeline = self.shared
            if size.is_long:
                pipeline = Pipeline(
                    self.broker.bootstrap_servers, f"{self.prefix}{name}.", self.start_role, partitions=12
                )
            scenario = Scenario(pipeline, self.healthy, dns_servers=[self.dns.server.address])
            side = self.sides[name] = Side(scenario, scenario.endpoints(f"healthy-{name}", size.healthy))
            scenario.players = self.faulty
            side.warm(size.windows)
        return self.sides[name]

    def windows_of(self, size: Size) -> Windows:
        """Return the windows at a rate that this machine can do beside much else."""
        if size.name not in self.windows:
            windows = size.windows
            if size.is_long:
                side = self.side(size)
                full = max(side.at_full_speed(windows) for _ in range(2))
                windows = replace(windows, per_second=min(MOST_PER_SECOND, int(OF_FULL_SPEED * full)))
            self.windows[size.name] = windows
        return self.windows[size.name]


class Compared:
    """One case: its faulty endpoints, what they get, and what it came to."""

    def __init__(self, world: World, case: Case, size: Size) -> None:
        self.name, self.case, self.size = f"{case.name}-{size.name}", case, size
        self._players, self._dns = world.faulty, world.dns
        self.side = world.side(size, case.name)
        self._before = len(self.side.sent)
        self.healthy: list[range] = []  # their jobs, in windows with faults
        self.behind: list[int] = []  # of those of even windows, what stood behind a flood
        self.batches: list[range] = []
        self.p99_ms = self.p99_ms_behind = self.per_second = (0.0, 0.0)
        fields: dict[str, Any] = {"timeout_s": size.timeout_s, "schedule_s": SCHEDULE_S}
        if case.how == "names":
            fields["url"] = f"http://silent-{{}}.{self.name}.example:{world.faulty.port}/"
        elif case.how == "door":
            fields["url"] = f"http://127.0.0.1:{world.faulty.door(self.name)}/"
        else:
            world.faulty.tell(self.name, case.how)
        self.faulty: list[Endpoint] = self.side.scenario.endpoints(self.name, case.endpoints(size), **fields)

    def faults(self, seconds: float, healthy_jobs: int) -> threading.Thread | None:
        """Begin to send what is for the faulty endpoints in this window."""
        once = self.case.once
        if once and self.batches:
            return None
        if self.case.how == "door" and len(self.batches) >= self.size.windows.turns // 2:
            self._players.door(self.name, "drops")
        jobs = once(self.size) if once else healthy_jobs // 10
        rate = 0 if once or not seconds else jobs / seconds
        thread, batch = self.side.scenario.beside(self.faulty, jobs, rate)
        self.batches.append(batch)
        return thread

    def compare(self, without: Side, windows: Windows) -> None:
        """Deliver to healthy endpoints without and with faults, evenly and then as fast as it goes."""
        alone, others = in_turns(without, self.side, windows, self.faults)
        beside, self.behind = self._apart(others)
        waits_without = without.scenario.ends.p99_ms(*alone)
        self.p99_ms = waits_without, self.side.scenario.ends.p99_ms(beside)
        self.p99_ms_behind = waits_without, self.side.scenario.ends.p99_ms(self.behind)
        self.per_second = per_second(without, self.side, windows, self.faults)

    def _apart(self, batches: Sequence[range]) -> tuple[list[int], list[int]]:
        """Part the jobs of healthy endpoints from those that stand behind a flood in its partition."""
        partitions = self.side.scenario.pipeline.settings.partitions
        flooded = {partition_of(one.id, partitions) for one in self.faulty} if self.case.is_flood else set()
        is_behind = [partition_of(one.id, partitions) in flooded for one in self.side.healthy]
        parted: tuple[list[int], list[int]] = [], []
        for batch in batches:
            for turn, number in enumerate(batch):
                parted[is_behind[turn % len(is_behind)]].append(number)
        return parted

    def mend(self) -> None:
        """From now on they answer, as the one that was flooded did all the time."""
        self.healthy = self.side.sent[self._before :]
        if self.case.how == "door":
            self._players.door(self.name, "open")
        elif not self.case.how.startswith("serial"):
            self._players.tell(self.name, "ok")
        self._dns.well.add(self.name)

    def ended(self) -> None:
        """Wait until all jobs for the faulty endpoints have come to an end."""
        for batch in self.batches:
            self.side.scenario.ended(batch, self.size.windows.deadline_s)

    def leave(self) -> None:
        """Have its delivery process end once it has nothing left to do."""
        self.ended()
        self.side.scenario.role.terminate()

    def errors(self) -> set[str]:
        """Return how its attempts failed."""
        odd = [one for batch in self.batches for one in self.side.scenario.ends.odd(batch)]
        return {one["error"] for one in odd if one["state"] != "delivered"}

    def row(self) -> Row:
        """What it came to."""
        scenario = self.side.scenario
        faulty = [number for batch in self.batches for number in batch]
        everything = [*faulty, *(number for batch in self.healthy for number in batch)]
        seen = list(self._players.seen(self.name).values())
        return Row(
            scenario=self.name,
            events=len(everything),
            faulty=len(faulty),
            lost=scenario.ends.missing(everything),
            repeated=scenario.ends.again(everything) + sum(play["answered_twice"] for play in seen),
            p99_ms=self.p99_ms,
            per_second=self.per_second,
            rewrites=rewrites(scenario.pipeline, faulty),
        )

    def row_behind(self) -> Row:
        """What it came to for those that stood behind a flood."""
        ends, behind = self.side.scenario.ends, self.behind
        return Row(
            f"{self.name}, behind it", len(behind), 0, ends.missing(behind), ends.again(behind), self.p99_ms_behind
        )

"""Healthy endpoints compared with and without faulty ones; in the long form each case has its own delivery process."""

from __future__ import annotations

import threading
from collections import Counter
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

# Short steps that have delay topics, and enough of them that no job is exhausted.
SCHEDULE_S = (5, 5, 5, 20, 20, 20, 60, 60, 60, 300)
MAX_PER_SECOND = 2_000
OF_FULL_SPEED = 0.4


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a run; `timeout_s` is the timeout of the faulty endpoints."""

    name: str
    healthy: int
    windows: Windows
    timeout_s: int
    is_long: bool


@dataclass(frozen=True, slots=True)
class Case:
    """Behaviour of faulty endpoints, their number and the kinds of failures that result.

    Endpoints get `once` jobs at the beginning, otherwise a tenth of the healthy endpoints' jobs. Healthy endpoints
    whose partition a flood fills are counted separately, as reading past a flood takes time.
    """

    name: str
    behaviour: str
    kinds: tuple[str, ...]
    endpoints: Callable[[Size], int]
    once: Callable[[Size], int] | None = None
    is_flood: bool = False


class Dns:
    """A DNS server without a response for names that begin with `silent`, until their second label is in `repaired`."""

    def __init__(self) -> None:
        self.repaired: set[str] = set()
        self.server = DnsServer(self._zone)

    def _zone(self, name: str, _times: int) -> list[str]:
        is_silent = name.startswith("silent") and name.split(".")[1] not in self.repaired
        return [SILENCE] if is_silent else ["127.0.0.1"]


@dataclass(slots=True)
class World:
    """What all scenarios of a run share."""

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
        """Return a delivery process with healthy endpoints; in the short form all sides are the same one."""
        name = f"{name}-{size.name}" if size.is_long else size.name
        if name not in self.sides:
            pipeline = self.shared
            if size.is_long:
                pipeline = Pipeline(
                    self.broker.bootstrap_servers, f"{self.prefix}{name}.", self.start_role, partitions=12
                )
            scenario = Scenario(pipeline, self.healthy, dns_servers=[self.dns.server.address])
            side = Side(scenario, scenario.endpoints(f"healthy-{name}", size.healthy))
            self.sides[name] = side
            scenario.players = self.faulty
            side.warm(size.windows)
        return self.sides[name]

    def windows_of(self, size: Size) -> Windows:
        """Return the windows, at a rate that is a part of what this machine can deliver."""
        if size.name not in self.windows:
            windows = size.windows
            if size.is_long:
                side = self.side(size)
                full = max(side.at_full_speed(windows) for _ in range(2))
                windows = replace(windows, per_second=min(MAX_PER_SECOND, int(OF_FULL_SPEED * full)))
            self.windows[size.name] = windows
        return self.windows[size.name]


class Compared:
    """One case: its faulty endpoints, their jobs and the results."""

    def __init__(self, world: World, case: Case, size: Size) -> None:
        self.name = f"{case.name}-{size.name}"
        self.case = case
        self.size = size
        self._players = world.faulty
        self._dns = world.dns
        self.side = world.side(size, case.name)
        self._before = len(self.side.sent)
        self.healthy: list[range] = []  # jobs of healthy endpoints in windows with faults
        self.behind: list[int] = []  # those of them, at an even rate, that a flood in their partition delayed
        self.batches: list[range] = []
        # Pairs: without faults, with faults.
        self.p99_ms = (0.0, 0.0)
        self.p99_ms_behind = (0.0, 0.0)
        self.per_second = (0.0, 0.0)
        fields: dict[str, Any] = {"timeout_s": size.timeout_s, "schedule_s": SCHEDULE_S}
        if case.behaviour == "names":
            fields["url"] = f"http://silent-{{}}.{self.name}.example:{world.faulty.port}/"
        elif case.behaviour == "port":
            fields["url"] = f"http://127.0.0.1:{world.faulty.set_port(self.name)}/"
        else:
            world.faulty.behave(self.name, case.behaviour)
        self.faulty: list[Endpoint] = self.side.scenario.endpoints(self.name, case.endpoints(size), **fields)

    def faults(self, seconds: float, healthy_jobs: int) -> threading.Thread | None:
        """Start to send the jobs of the faulty endpoints in this window."""
        once = self.case.once
        if once and self.batches:
            return None
        if self.case.behaviour == "port" and len(self.batches) >= self.size.windows.turns // 2:
            self._players.set_port(self.name, "drops")
        jobs = once(self.size) if once else healthy_jobs // 10
        rate = 0 if once or not seconds else jobs / seconds
        thread, batch = self.side.scenario.send_in_thread(self.faulty, jobs, rate)
        self.batches.append(batch)
        return thread

    def compare(self, without: Side, windows: Windows) -> None:
        """Deliver to healthy endpoints without and with faults, first at an even rate, then at full speed."""
        alone, with_faults = in_turns(without, self.side, windows, self.faults)
        ahead, self.behind = self._split(with_faults)
        waits_without = without.scenario.ends.p99_ms(*alone)
        self.p99_ms = (waits_without, self.side.scenario.ends.p99_ms(ahead))
        self.p99_ms_behind = (waits_without, self.side.scenario.ends.p99_ms(self.behind))
        self.per_second = per_second(without, self.side, windows, self.faults)

    def _split(self, batches: Sequence[range]) -> tuple[list[int], list[int]]:
        """Return the jobs of healthy endpoints, without and with a flood in their partition."""
        partitions = self.side.scenario.pipeline.settings.partitions
        flooded = {partition_of(one.id, partitions) for one in self.faulty} if self.case.is_flood else set()
        is_behind = [partition_of(one.id, partitions) in flooded for one in self.side.healthy]
        split: tuple[list[int], list[int]] = [], []
        for batch in batches:
            for turn, number in enumerate(batch):
                split[is_behind[turn % len(is_behind)]].append(number)
        return split

    def repair(self) -> None:
        """Let the faulty endpoints respond; a flooded endpoint has responded all the time."""
        self.healthy = self.side.sent[self._before :]
        if self.case.behaviour == "port":
            self._players.set_port(self.name, "open")
        elif not self.case.behaviour.startswith("serial"):
            self._players.behave(self.name, "ok")
        self._dns.repaired.add(self.name)

    def ended(self) -> None:
        """Wait until all jobs of the faulty endpoints have ended."""
        for batch in self.batches:
            self.side.scenario.ended(batch, self.size.windows.deadline_s)

    def leave(self) -> None:
        """Wait for the jobs of the faulty endpoints and end the delivery process."""
        self.ended()
        self.side.scenario.role.terminate()

    def errors(self) -> Counter[str]:
        """Return how many attempts failed, by kind of failure."""
        odd = [one for batch in self.batches for one in self.side.scenario.ends.odd(batch)]
        return Counter(one["error"] for one in odd if one["state"] != "delivered")

    def row(self) -> Row:
        """Return the row of the table."""
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
        """Return the row of healthy endpoints with a flood in their partition."""
        ends = self.side.scenario.ends
        behind = self.behind
        return Row(
            f"{self.name}, behind it", len(behind), 0, ends.missing(behind), ends.again(behind), self.p99_ms_behind
        )

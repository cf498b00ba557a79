"""Faulty and healthy endpoints on a delivery process that uses the tests' certificate authority and DNS server."""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.avro.codec import DecodedRecord
from tests.support.certificates import Authority
from tests.support.players import Players
from tests.support.scenario import Endpoint, Scenario
from tests.support.table import Row
from tests.support.windows import Side, Windows, in_turns

_EVENT = re.compile(rb'"event_id":"(evt_\d+)"')


@dataclass(frozen=True, slots=True)
class Size:
    """Number of healthy endpoints; `jobs` is the number of jobs per faulty endpoint and window."""

    name: str
    healthy: int
    jobs: int
    windows: Windows


@dataclass(slots=True)
class World:
    """A delivery process that trusts `authority` and uses a DNS server with `zone`."""

    scenario: Scenario
    players: Players
    authority: Authority
    zone: dict[str, list[str]] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)

    def side(self, size: Size) -> Side:
        """Return the process with the healthy endpoints of this size."""
        if size.name not in self.sides:
            side = Side(self.scenario, self.scenario.endpoints(f"healthy-{size.name}", size.healthy))
            side.warm(size.windows)
            self.sides[size.name] = side
        return self.sides[size.name]

    def run(
        self,
        size: Size,
        faulty: Sequence[Endpoint],
        repair: Callable[[FaultyRun], None],
        begin_window: Callable[[FaultyRun], None] = lambda _: None,
    ) -> FaultyRun:
        """Deliver to faulty and healthy endpoints, repair the faulty ones, and wait until all jobs have ended."""
        run = FaultyRun(self.scenario, faulty, size, begin_window)
        side = self.side(size)
        before = len(side.sent)
        alone, with_faults = in_turns(side, side, size.windows, run.faults)
        run.p99_ms = (self.scenario.ends.p99_ms(*alone), self.scenario.ends.p99_ms(*with_faults))
        run.healthy = side.sent[before:]
        repair(run)
        for batch in run.batches:
            self.scenario.ended(batch, size.windows.deadline_s)
        assert [odd for batch in run.healthy for odd in self.scenario.ends.odd(batch)] == []
        return run


class FaultyRun:
    """Faulty endpoints of one kind, their jobs and their results; `begin_window` is called before each window."""

    def __init__(
        self, scenario: Scenario, faulty: Sequence[Endpoint], size: Size, begin_window: Callable[[FaultyRun], None]
    ) -> None:
        self._scenario = scenario
        self._faulty = faulty
        self._size = size
        self._begin_window = begin_window
        self.batches: list[range] = []
        self.healthy: list[range] = []
        self.p99_ms = (0.0, 0.0)  # of healthy endpoints, without and with faults

    def faults(self, seconds: float, _healthy_jobs: int) -> threading.Thread:
        """Start to send the jobs of the faulty endpoints in this window."""
        self._begin_window(self)
        jobs = self._size.jobs * len(self._faulty)
        thread, batch = self._scenario.send_in_thread(self._faulty, jobs, jobs / seconds)
        self.batches.append(batch)
        return thread

    def outcomes(self) -> list[DecodedRecord]:
        """Return the outcomes of all attempts, except deliveries at the first attempt."""
        self._scenario.ends.look()
        return [odd for batch in self.batches for odd in self._scenario.ends.odd(batch)]

    def errors(self) -> dict[int, set[str | None]]:
        """Return the kinds of failures of each endpoint, by its number."""
        found: defaultdict[int, set[str | None]] = defaultdict(set)
        for outcome in self.outcomes():
            if outcome["state"] != "delivered":
                found[int(outcome["subscription_id"].rpartition("-")[2])].add(outcome["error"])
        return found

    def row(self, name: str, requests: Sequence[bytes] = ()) -> Row:
        """Return the row of the table; `requests` are those that got a 2xx response."""
        ends = self._scenario.ends
        everything = [number for batch in (*self.healthy, *self.batches) for number in batch]
        faulty = sum(map(len, self.batches))
        events = Counter(found[1] for request in requests if (found := _EVENT.search(request)))
        again = ends.again(everything) + sum(count - 1 for count in events.values())
        return Row(f"{name}-{self._size.name}", len(everything), faulty, ends.missing(everything), again, self.p99_ms)

"""Endpoints that are odd in some way beside healthy ones, on a process whose authority and DNS are the tests' own."""

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
    """`jobs` are those of each odd endpoint in a window."""

    name: str
    healthy: int
    jobs: int
    windows: Windows


@dataclass(slots=True)
class World:
    """A delivery process that trusts an authority, and asks a DNS server that says what `zone` holds."""

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

    def beside(
        self,
        size: Size,
        faulty: Sequence[Endpoint],
        mend: Callable[[Beside], None],
        turn: Callable[[Beside], None] = lambda _: None,
    ) -> Beside:
        """Serve faulty endpoints beside healthy ones, until they are mended and have got theirs."""
        one = Beside(self.scenario, faulty, size, turn)
        side = self.side(size)
        before = len(side.sent)
        alone, others = in_turns(side, side, size.windows, one.faults)
        one.p99_ms = self.scenario.ends.p99_ms(*alone), self.scenario.ends.p99_ms(*others)
        one.healthy = side.sent[before:]
        mend(one)
        for batch in one.batches:
            self.scenario.ended(batch, size.windows.deadline_s)
        assert [odd for batch in one.healthy for odd in self.scenario.ends.odd(batch)] == []
        return one


class Beside:
    """One kind of odd endpoints, what they get, and what it came to."""

    def __init__(
        self, scenario: Scenario, faulty: Sequence[Endpoint], size: Size, turn: Callable[[Beside], None]
    ) -> None:
        self._scenario, self._faulty, self._size, self._turn = scenario, faulty, size, turn
        self.batches: list[range] = []
        self.healthy: list[range] = []
        self.p99_ms = (0.0, 0.0)

    def faults(self, seconds: float, _healthy_jobs: int) -> threading.Thread:
        """Begin to send what is for the faulty endpoints in this window."""
        self._turn(self)
        jobs = self._size.jobs * len(self._faulty)
        thread, batch = self._scenario.beside(self._faulty, jobs, jobs / seconds)
        self.batches.append(batch)
        return thread

    def outcomes(self) -> list[DecodedRecord]:
        """What came of all attempts so far, but for first ones that were deliveries."""
        self._scenario.ends.look()
        return [odd for batch in self.batches for odd in self._scenario.ends.odd(batch)]

    def errors(self) -> dict[int, set[str | None]]:
        """Return which failures each endpoint has shown so far, by its number."""
        found: defaultdict[int, set[str | None]] = defaultdict(set)
        for outcome in self.outcomes():
            if outcome["state"] != "delivered":
                found[int(outcome["subscription_id"].rpartition("-")[2])].add(outcome["error"])
        return found

    def row(self, name: str, requests: Sequence[bytes] = ()) -> Row:
        """What it came to; `requests` are those that were answered well."""
        ends, everything = self._scenario.ends, [n for batch in (*self.healthy, *self.batches) for n in batch]
        faulty = sum(map(len, self.batches))
        events = Counter(found[1] for request in requests if (found := _EVENT.search(request)))
        again = ends.again(everything) + sum(count - 1 for count in events.values())
        return Row(f"{name}-{self._size.name}", len(everything), faulty, ends.missing(everything), again, self.p99_ms)

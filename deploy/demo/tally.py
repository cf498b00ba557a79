"""The counts of the demo, and a check that they agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from deploy.dev.responses import Behaviour, CannedResponse, always, fail_first
from schemas.senders.sender import Sender

_BUSY: Final = CannedResponse(503)
_BROKEN: Final = CannedResponse(500)
_FAILURES: Final = 2


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer and its endpoint. Each job takes `attempts`; then it is delivered if it `succeeds`, else dead."""

    id: str
    sender: Sender
    endpoint: str
    behave: Behaviour
    attempts: int = 1
    succeeds: bool = True


def customers_of(senders: Mapping[str, Sender]) -> tuple[Customer, ...]:
    """Return one customer per sender with a healthy endpoint, and two more with failing endpoints.

    Those two belong to the sender with the shortest schedule, because the demo waits until its jobs are dead. Their
    endpoints respond with errors. Jobs for an endpoint that does not respond would wait too long for a demo.
    """
    shortest = min(senders.values(), key=lambda sender: sum(sender.schedule, timedelta()))
    customers: list[Customer] = []
    for name, sender in senders.items():
        customers.append(Customer(name, sender, "healthy", always(CannedResponse())))
        if sender is shortest:
            recovers = fail_first(_FAILURES, _BUSY, CannedResponse())
            attempts = len(sender.schedule) + 1
            customers.append(Customer(f"{name}-twice-503", sender, "twice 503", recovers, _FAILURES + 1))
            customers.append(
                Customer(f"{name}-always-500", sender, "always 500", always(_BROKEN), attempts, succeeds=False)
            )
    return tuple(customers)


@dataclass(slots=True)
class Tally:
    """The counts of one customer. `latencies_ms` are from the append of an event to its 2xx."""

    events: int = 0  # published
    jobs: int = 0  # records of jobs.0s
    delivered: int = 0
    retried: int = 0  # jobs that needed more than one attempt
    dead: int = 0
    attempts: int = 0
    genuine: int = 0  # requests whose signature the endpoint verified
    refused: int = 0  # requests whose signature was wrong
    accepted: int = 0  # different events that the endpoint answered with 2xx
    repeated: int = 0  # 2xx for an event that already had one
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Events whose job has not ended."""
        return self.events - self.delivered - self.dead

    def percentile(self, share: float) -> float | None:
        """Return a percentile (0 to 1) of the latencies in ms, None without latencies."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(slots=True)
class DemoProgress:
    """The state of a running demo; `tallies` are by customer id."""

    customers: tuple[Customer, ...]
    tallies: dict[str, Tally] = field(init=False)
    first_ms: int = 0
    last_ms: int = 0

    def __post_init__(self) -> None:
        self.tallies = {customer.id: Tally() for customer in self.customers}

    @property
    def senders(self) -> Mapping[str, Sender]:
        """All senders, by name."""
        return {customer.sender.name: customer.sender for customer in self.customers}

    def sum(self) -> Tally:
        """Return the sum of all tallies."""
        every = list(self.tallies.values())
        return Tally(
            events=sum(tally.events for tally in every),
            jobs=sum(tally.jobs for tally in every),
            delivered=sum(tally.delivered for tally in every),
            retried=sum(tally.retried for tally in every),
            dead=sum(tally.dead for tally in every),
            attempts=sum(tally.attempts for tally in every),
            genuine=sum(tally.genuine for tally in every),
            latencies_ms=[latency for tally in every for latency in tally.latencies_ms],
        )

    @property
    def waiting(self) -> int:
        """Events whose job has not ended."""
        return sum(tally.waiting for tally in self.tallies.values())

    def rate(self) -> float:
        """Return the deliveries per second from the first event to the last 2xx."""
        delivered = sum(tally.delivered for tally in self.tallies.values())
        return delivered / max(0.001, (self.last_ms - self.first_ms) / 1_000)

    def problems(self) -> list[str]:
        """Return a sentence for each count that is wrong."""
        return [problem for customer in self.customers for problem in _problems(customer, self.tallies[customer.id])]


def _problems(customer: Customer, tally: Tally) -> Iterator[str]:
    events = tally.events
    delivered = events if customer.succeeds else 0
    expected: Iterable[tuple[str, int, int]] = (
        ("jobs", tally.jobs, events),
        ("waiting", tally.waiting, 0),
        ("dead", tally.dead, events - delivered),
        ("delivered", tally.delivered, delivered),
        ("retried", tally.retried, 0 if customer.attempts == 1 else events),
        ("attempts", tally.attempts, events * customer.attempts),
        ("events that its endpoint accepted", tally.accepted, tally.delivered),
        ("events that its endpoint accepted more than once", tally.repeated, 0),
        ("requests with a wrong signature", tally.refused, 0),
        ("requests with a verified signature", tally.genuine, tally.attempts),
    )
    for what, counted, correct in expected:
        if counted != correct:
            yield f"{customer.id}: {what}: {counted:,}, expected {correct:,}"

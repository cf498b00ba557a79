"""The transport against endpoints that do anything: any order of requests, answers, faults, names and time."""

from __future__ import annotations

import gc
import ssl
import time
from pathlib import Path
from random import Random

import pytest

from consumers.delivery.answer import Answered, Request
from consumers.delivery.connections import Connections
from consumers.delivery.endpoint import ClientIdentity
from consumers.delivery.transport import Transport
from tests.support.certificates import Authority
from tests.support.random_endpoint import RandomEndpoint, RandomNames, check_books, connections_of
from tests.support.sending import LOCAL, request_to

pytestmark = pytest.mark.promise(5)

SHORT, LONG = 4, 150
SEEDS = [pytest.param(seed, marks=() if seed < SHORT else pytest.mark.long) for seed in range(LONG)]
STEPS = 150
BODIES = [b"{}", b"{}", b"{}", b"x" * 300_000, b"x" * 3_000_000]
# A deadline is at most 30 s away, and in the end a second passes with each turn.
LAST_TURNS = 100


class Sending:
    """A transport and an endpoint; `open` are the numbers of the requests that have not ended yet."""

    def __init__(self, rng: Random, scheme: str, authority: Authority) -> None:
        tls = authority.server("localhost") if scheme == "https" else None
        if tls is not None and rng.random() < 0.5:
            tls.maximum_version = ssl.TLSVersion.TLSv1_2
        shown = ClientIdentity(*authority.client("a")) if tls else None
        self.rng, self.identities = rng, [None, None, shown]
        self.endpoint = RandomEndpoint(rng, tls)
        self.url = f"{scheme}://localhost:{self.endpoint.port}/"
        self.later_s = 0.0
        self.started, self.open = 0, set[object]()
        self.transport = Transport(
            LOCAL,
            RandomNames(rng),
            connections=Connections(
                roots=str(authority.roots), most=rng.choice([1, 2, 3, 6, 50]), idle_s=rng.choice([1, 55])
            ),
            confirm=self._confirm,
            monotonic=lambda: time.monotonic() + self.later_s,
        )

    def _confirm(self, _request: Request) -> bool:
        if self.rng.random() < 0.3:
            self.endpoint.step()
        return self.rng.random() < 0.93

    def step(self) -> None:
        """Let something happen, and do what a loop does."""
        rng, drawn = self.rng, self.rng.random()
        if drawn < 0.45:
            self._start(rng.randint(1, 4))
        elif drawn < 0.5:
            self.later_s += rng.choice([0.02, 0.06, 0.3, 2, 60])
        elif drawn < 0.54:
            which = rng.randint(1, 5)
            self._end(self.transport.cancel(lambda request: int(str(request.context)) % 5 == which))
        elif drawn < 0.57:
            self.transport.tidy()
        self._check()
        for _ in range(rng.randint(0, 3)):
            self.endpoint.step()
        self.work(rng.choice([0, 0, 0, 0.001]))

    def work(self, timeout_s: float) -> None:
        """Take answers."""
        answered: list[Answered] = self.transport.work(timeout_s)
        self._end([one.request for one in answered])
        self._check()

    def _start(self, requests: int) -> None:
        for _ in range(requests):
            timeout_ms = self.rng.choice([300, 3_000, 30_000])
            request = request_to(self.url, timeout_ms=timeout_ms, body=self.rng.choice(BODIES), context=self.started)
            request.identity = self.rng.choice(self.identities)
            self.open.add(self.started)
            self.started += 1
            self.transport.start(request)

    def _end(self, requests: list[Request]) -> None:
        for request in requests:
            self.open.remove(request.context)  # it has not ended before

    def _check(self) -> None:
        assert self.transport.in_flight + self.transport.resolving == len(self.open)
        check_books(self.transport._carrier)

    def close(self) -> None:
        """Close both ends."""
        self.transport.close()
        self.endpoint.close()


def open_descriptors() -> int:
    """How many files, sockets and the like this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_endpoints_do_every_request_ends_once(tmp_path: Path, seed: int, scheme: str) -> None:
    """Each ends, by its deadline at the latest, and once; no connection, descriptor or place is lost."""
    authority = Authority(tmp_path)
    gc.collect()  # what others have left behind
    before = open_descriptors()
    sending = Sending(Random(seed), scheme, authority)
    try:
        for _ in range(STEPS):
            sending.step()
        for _ in range(LAST_TURNS):
            if not sending.transport.is_busy:
                break
            sending.later_s += 1
            sending.work(0.001)
        assert not sending.open
        assert not sending.transport.is_busy
        sending.later_s += 100
        sending.transport.tidy()
        assert not connections_of(sending.transport._carrier)
    finally:
        sending.close()
    assert open_descriptors() <= before or (gc.collect() and open_descriptors() <= before)

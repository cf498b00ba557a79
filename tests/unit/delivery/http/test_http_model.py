"""The client in any order of requests, responses, faults, names and time."""

from __future__ import annotations

import gc
import ssl
import time
from pathlib import Path
from random import Random

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.types import ClientIdentity, Request
from tests.support.certificates import Authority
from tests.support.http_client import LOCAL, request_to
from tests.support.random_endpoint import RandomEndpoint, RandomResolver, check_state, connections_of

pytestmark = pytest.mark.promise(5)

SHORT, LONG = 4, 150
SEEDS = [pytest.param(seed, marks=() if seed < SHORT else pytest.mark.long) for seed in range(LONG)]
STEPS = 150
BODIES = [b"{}", b"{}", b"{}", b"x" * 300_000, b"x" * 3_000_000]
# A deadline is at most 30 s away, and in the end a second passes with each turn.
LAST_TURNS = 100


class ClientModel:
    """A client and an endpoint; `open` are the numbers of the requests that have not ended yet."""

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
        self.client = HttpClient(
            LOCAL,
            RandomResolver(rng),
            options=ClientOptions(
                roots=str(authority.roots), max_connections=rng.choice([1, 2, 3, 6, 50]), idle_s=rng.choice([1, 55])
            ),
            monotonic=lambda: time.monotonic() + self.later_s,
        )

    def _decide(self, request: Request) -> None:
        """Confirm or cancel a request, or leave it undecided."""
        if self.rng.random() < 0.3:
            self.endpoint.step()
        drawn = self.rng.random()
        if drawn < 0.9:
            self.client.confirm(request)
        elif drawn < 0.95:
            self.client.cancel(request)

    def step(self) -> None:
        """Run one event, and a turn of the loop."""
        rng, drawn = self.rng, self.rng.random()
        if drawn < 0.45:
            self._start(rng.randint(1, 4))
        elif drawn < 0.5:
            self.later_s += rng.choice([0.02, 0.06, 0.3, 2, 60])
        elif drawn < 0.54:
            which = rng.randint(1, 5)
            self._end(self.client.cancel_matching(lambda request: int(str(request.context)) % 5 == which))
        elif drawn < 0.57:
            self.client.tidy()
        self._check()
        for _ in range(rng.randint(0, 3)):
            self.endpoint.step()
        self.poll(rng.choice([0, 0, 0, 0.001]))

    def poll(self, timeout_s: float) -> None:
        """Take completed requests, and decide about those that have to be confirmed."""
        result = self.client.poll(timeout_s)
        self._end([completed.request for completed in result.completed])
        self._check()
        for request in result.to_confirm:
            self._decide(request)
        self._check()

    def _start(self, requests: int) -> None:
        for _ in range(requests):
            timeout_ms = self.rng.choice([300, 3_000, 30_000])
            request = request_to(self.url, timeout_ms=timeout_ms, body=self.rng.choice(BODIES), context=self.started)
            request.identity = self.rng.choice(self.identities)
            self.open.add(self.started)
            self.started += 1
            self.client.start(request)

    def _end(self, requests: list[Request]) -> None:
        for request in requests:
            self.open.remove(request.context)  # fails if it has ended before

    def _check(self) -> None:
        assert self.client.in_flight + self.client.resolving == len(self.open)
        check_state(self.client)

    def close(self) -> None:
        """Close both ends."""
        self.client.close()
        self.endpoint.close()


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_request_ends_once_whatever_endpoints_do(tmp_path: Path, seed: int, scheme: str) -> None:
    """Each request ends once, by its deadline at the latest; no connection or descriptor is lost."""
    authority = Authority(tmp_path)
    gc.collect()  # of other tests
    before = open_descriptors()
    sending = ClientModel(Random(seed), scheme, authority)
    try:
        for _ in range(STEPS):
            sending.step()
        for _ in range(LAST_TURNS):
            if not sending.client.is_busy:
                break
            sending.later_s += 1
            sending.poll(0.001)
        assert not sending.open
        assert not sending.client.is_busy
        sending.later_s += 100
        sending.client.tidy()
        assert not connections_of(sending.client)
    finally:
        sending.close()
    assert open_descriptors() <= before or (gc.collect() and open_descriptors() <= before)

"""The ports of the REST API in memory, with the real decisions about subscriptions, and a client of the application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import httpx
from fastapi import FastAPI

from consumers.service.log_sampling import SuccessSampler
from producers.api.app import app_of
from producers.api.ports import (
    Caller,
    DeliveryTotals,
    FlavourName,
    LedgerAway,
    OperationName,
    TestDelivery,
    TestResult,
    WriteResult,
)
from producers.subscriptions.changes import Apply, Command, PlannedCommand, Result
from producers.subscriptions.decider import Decider
from producers.subscriptions.limits import check_limits
from schemas.catalog.errors import Unavailable
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import Sender, load_senders
from schemas.subscriptions.rules import Bounds, Draft
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import Subscription

TOPIC: Final = "signpost.subscriptions"
# 2026-01-19T10:30:00.123Z
START_MS: Final = 1_768_818_600_123


def new_ids() -> Iterator[str]:
    """Yield UUIDs in ascending order."""
    return (f"00000000-0000-4000-8000-{number:012d}" for number in count(1))


class MemoryKeys:
    """Keys by their text. A caller with an entry in `waits` has to wait."""

    def __init__(self) -> None:
        self.callers: dict[str, Caller] = {}
        self.waits: dict[str, float] = {}
        self.requests: list[str] = []

    def add(self, key: str, sender: str | None, customer_id: str | None, *, may_write: bool = True) -> str:
        """Add a key and return it."""
        self.callers[key] = Caller(f"id-of-{len(self.callers)}", sender, customer_id, may_write)
        return key

    def authenticate(self, key: str) -> Caller | None:
        return self.callers.get(key)

    def may_request(self, caller: Caller) -> float:
        self.requests.append(caller.key_id)
        return self.waits.get(caller.key_id, 0.0)


class MemorySubscriptions:
    """Subscriptions by id, and the activations that delivery has disabled."""

    def __init__(self) -> None:
        self.found: dict[str, Subscription] = {}
        self.disabled: dict[str, int] = {}

    def of_customer(self, sender: str, customer_id: str) -> Sequence[Subscription]:
        return [one for one in self.found.values() if (one.sender, one.customer_id) == (sender, customer_id)]

    def find(self, id_: str) -> Subscription | None:
        return self.found.get(id_)

    async def find_latest(self, id_: str) -> Subscription | None:
        return self.find(id_)

    def is_disabled(self, subscription: Subscription) -> bool:
        activation = self.disabled.get(subscription.id)
        return activation is not None and activation >= subscription.activation

    def disabled_activation(self, id_: str) -> int | None:
        return self.disabled.get(id_)

    def disable(self, id_: str) -> None:
        """Disable the present activation, as delivery does after a 410."""
        self.disabled[id_] = self.found[id_].activation


@dataclass(slots=True)
class Written:
    """A command that was executed."""

    command: Command
    by: Caller
    request_id: str


class MemoryChanges:
    """Executes commands by the decisions of the real writer, at a time that tests set."""

    def __init__(self, subscriptions: MemorySubscriptions, senders: Mapping[str, Sender]) -> None:
        self._subscriptions = subscriptions
        self._senders = senders
        self.sealer = Sealer([bytes(32)])
        self._decider = Decider(TOPIC, senders, self.sealer)
        self.now_ms = START_MS
        self.made_secret: str | None = None
        self.error: Exception | None = None
        self.written: list[Written] = []

    def created(self, draft: Draft, now_ms: int) -> Subscription:
        """Return the record of a new subscription."""
        secret = self._senders[draft.sender].generate_secret()
        subscription = self._decider.decide(
            PlannedCommand(Apply(draft), "req", "sec", secret), None, now_ms
        ).subscription
        assert subscription is not None
        return subscription

    async def write(self, command: Command, by: Caller, request_id: str) -> Result:
        await asyncio.sleep(0)  # other requests run here
        if self.error is not None:
            raise self.error
        current = self._subscriptions.find(command.id)
        sender = command.draft.sender if isinstance(command, Apply) else current.sender if current else ""
        made = self.made_secret or (self._senders[sender].generate_secret() if sender else None)
        planned = PlannedCommand(command, request_id, f"sec_{request_id}", made)
        result = self._decider.decide(planned, current, self.now_ms)
        check_limits(self._subscriptions.of_customer, [result], self._senders)
        self.written.append(Written(command, by, request_id))
        if result.subscription is None:
            del self._subscriptions.found[command.id]
        else:
            self._subscriptions.found[command.id] = result.subscription
        return result


class MemoryDeliveryLog:
    """Totals by subscription."""

    def __init__(self) -> None:
        self.of: dict[str, DeliveryTotals] = {}
        self.is_away = False
        self.asked: list[Sequence[str]] = []

    async def totals(self, ids: Sequence[str]) -> Mapping[str, DeliveryTotals]:
        if self.is_away:
            raise LedgerAway("the database does not respond")
        self.asked.append(ids)
        return {id_: self.of[id_] for id_ in ids if id_ in self.of}


class MemoryTestDeliveries:
    """Sends nothing: a URL has the result that a test gave it, otherwise 200."""

    def __init__(self) -> None:
        self.results: dict[str, tuple[int | None, str]] = {}
        self.sent: list[TestDelivery] = []
        self.next_log_id = 1
        self.is_away = False

    async def send(self, delivery: TestDelivery) -> TestResult:
        if self.is_away:
            raise Unavailable("the topic cannot be written")
        self.sent.append(delivery)
        status, reason = self.results.get(delivery.url, (200, ""))
        self.next_log_id += 1
        return TestResult(self.next_log_id - 1, status, reason)


@dataclass(slots=True)
class MemoryMetrics:
    """All that was counted."""

    requests: list[tuple[FlavourName, OperationName, int]] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    writes: list[WriteResult] = field(default_factory=list)
    lines_omitted: int = 0

    def on_request(self, flavour: FlavourName, operation: OperationName, status: int, duration_s: float) -> None:
        self.requests.append((flavour, operation, status))
        self.durations_s.append(duration_s)

    def on_write(self, result: WriteResult) -> None:
        self.writes.append(result)

    def set_lines_omitted(self, lines: int) -> None:
        self.lines_omitted = lines


class MemoryApi:
    """The application over ports in memory, and a client that speaks ASGI with it."""

    def __init__(
        self,
        egress: EgressPolicy | None = None,
        body_timeout_s: float = 10.0,
        *,
        successes_per_second: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.senders = load_senders()
        self.keys = MemoryKeys()
        self.subscriptions = MemorySubscriptions()
        self.changes = MemoryChanges(self.subscriptions, self.senders)
        self.deliveries = MemoryDeliveryLog()
        self.tests = MemoryTestDeliveries()
        self.metrics = MemoryMetrics()
        self.ids = new_ids()
        self.app: Final[FastAPI] = app_of(
            keys=self.keys,
            subscriptions=self.subscriptions,
            changes=self.changes,
            deliveries=self.deliveries,
            tests=self.tests,
            metrics=self.metrics,
            sampler=SuccessSampler(successes_per_second),
            senders=self.senders,
            urls=egress or EgressPolicy(),
            bounds=Bounds(timedelta(seconds=60), datetime.now(UTC)),
            clock=lambda: self.changes.now_ms / 1_000,
            new_id=lambda: next(self.ids),
            monotonic=monotonic,
            body_timeout_s=body_timeout_s,
        )

    def add(self, draft: Draft, created_at_ms: int = START_MS, totals: DeliveryTotals | None = None) -> None:
        """Add a subscription, as a command of an operator does."""
        self.subscriptions.found[draft.id] = self.changes.created(draft, created_at_ms)
        if totals is not None:
            self.deliveries.of[draft.id] = totals

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make one request."""
        return asyncio.run(self.send(method, path, **more))

    def requests(self, *given: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        """Make requests at the same time."""

        async def run() -> list[httpx.Response]:
            return await asyncio.gather(*(self.send(method, path, **more) for method, path, more in given))

        return asyncio.run(run())

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Make a request in the running event loop."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://signpost.test") as client:
            return await client.request(method, path, **more)


class Onboarding:
    """A customer of the Onboarding API."""

    def __init__(self, api: MemoryApi, customer_id: str = "acme", *, may_write: bool = True) -> None:
        self.api = api
        self.customer_id = customer_id
        self.key = api.keys.add(f"key-{len(api.keys.callers)}", "onboarding", customer_id, may_write=may_write)
        self.headers = {"Authorization": f"Bearer {self.key}"}

    def request(self, method: str, id_: str | None = None, body: Any = None, **more: Any) -> httpx.Response:
        """Make a request to the list, or to the webhook `id_`."""
        path = "/api/v1/webhooks/" if id_ is None else f"/api/v1/webhooks/{id_}/"
        if body is not None:
            more["json"] = body
        return self.api.request(method, path, headers=self.headers, **more)

    def create(self, **fields: Any) -> httpx.Response:
        """Create a webhook."""
        body = {"event_type": "screening.completed", "webhook_url": "https://hooks.example.com/s"}
        return self.request("POST", None, body | fields)

    def created(self, **fields: Any) -> str:
        """Create a webhook and return its id."""
        response = self.create(**fields)
        assert response.status_code == 201, response.text
        id_: str = response.json()["id"]
        return id_

    def test(self, url: Any = "https://hooks.example.com/s") -> httpx.Response:
        """Send a test event."""
        return self.request("POST", "test", {"webhook_url": url})


class Diligent:
    """A customer of Diligent's API."""

    def __init__(self, api: MemoryApi, customer_id: str = "acme", *, may_write: bool = True) -> None:
        self.api = api
        self.customer_id = customer_id
        self.key = api.keys.add(f"key-{len(api.keys.callers)}", "diligent", customer_id, may_write=may_write)
        self.headers = {"X-API-KEY": self.key}

    def request(self, method: str, id_: str | None = None, body: Any = None, **more: Any) -> httpx.Response:
        """Make a request to the list, or to the webhook `id_`."""
        path = "/webhooks" if id_ is None else f"/webhooks/{id_}"
        if body is not None:
            more["json"] = body
        return self.api.request(method, path, headers=self.headers, **more)

    def create(self, **fields: Any) -> httpx.Response:
        """Create a webhook."""
        return self.request("POST", None, {"webhook_url": "https://hooks.example.com/d"} | fields)

    def created(self, **fields: Any) -> str:
        """Create a webhook and return its id."""
        response = self.create(**fields)
        assert response.status_code == 201, response.text
        id_: str = response.json()["id"]
        return id_


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """Yield a body without a Content-Length."""
    for part in parts:
        yield part

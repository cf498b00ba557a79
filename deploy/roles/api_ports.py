"""What the API needs (producers/api/ports.py), from the parts that have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from consumers.delivery.inline_deliveries import InlineDeliveries, InlineDelivery, NotStarted
from consumers.ledger.rows import Totals
from consumers.ledger.writer import DatabaseAway
from producers.api.ports import Caller, DeliveryTotals, LedgerAway, NotDone, NotReady, TestDelivery, TestResult
from producers.compacted.author import Author
from producers.compacted.log import CompactedLog
from producers.keys.service import ApiKeys
from producers.subscriptions.changes import AuthoredCommand, Command, Result
from producers.subscriptions.store import SubscriptionStore
from schemas.catalog.errors import Unavailable
from schemas.records.health import Health
from schemas.subscriptions.subscription import Subscription

# A query takes milliseconds. Its own deadline is longer, so that a slow database ends it and not the network.
_ANSWER_S: Final = 2.0
_AWAY_S: Final = 1.0


class StoredSubscriptions:
    """Implements ports.Subscriptions and ports.ChangeWriter."""

    def __init__(self, store: SubscriptionStore, health: CompactedLog[Health]) -> None:
        self._store = store
        self._health = health

    def of_customer(self, sender: str, customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in any order."""
        return self._store.of_customer(sender, customer_id)

    def find(self, id_: str) -> Subscription | None:
        """Return a subscription of any customer."""
        return self._store.find(id_)

    async def find_latest(self, id_: str) -> Subscription | None:
        """Return a subscription after the table has read everything that was acknowledged before this call."""
        try:
            await asyncio.wrap_future(self._store.caught_up())
        except Unavailable as error:
            raise NotReady(str(error)) from error
        return self._store.find(id_)

    def is_disabled(self, subscription: Subscription) -> bool:
        """Return whether delivery has disabled the present activation of a subscription."""
        health = self._health_of(subscription.id)
        return health is not None and health.disables(subscription.activation)

    def disabled_activation(self, id_: str) -> int | None:
        """Return the activation that delivery has disabled, for the command that enables it again."""
        health = self._health_of(id_)
        return health.activation if health is not None and health.disabled_at_ms is not None else None

    async def write(self, command: Command, by: Caller, request_id: str) -> Result:
        """Execute a command, and return when every process knows its result."""
        author = Author(f"key:{by.key_id}", request_id)
        try:
            submitted = self._store.submit(AuthoredCommand(command, author))
        except Unavailable as error:
            raise NotDone(str(error)) from error
        committed = await asyncio.wrap_future(submitted)
        await asyncio.sleep(committed.acknowledge_after_s)
        return committed.result

    def _health_of(self, id_: str) -> Health | None:
        found = self._health.find(id_)[1]
        return found if isinstance(found, Health) else None


class CheckedKeys:
    """Implements ports.Keys. `why_not_started` returns why no request can be answered yet."""

    def __init__(self, keys: ApiKeys, why_not_started: Callable[[], str | None]) -> None:
        self._keys = keys
        self._why_not_started = why_not_started

    def authenticate(self, key: str) -> Caller | None:
        """Return the owner of a valid key; None if it is not valid, NotReady if no key can be checked now."""
        if (reason := self._why_not_started()) is not None:
            raise NotReady(reason)
        try:
            found = self._keys.authenticate(key)
        except Unavailable as error:
            raise NotReady(str(error)) from error
        return None if found is None else Caller(found.id, found.sender, found.customer_id, found.scope == "write")

    def may_request(self, caller: Caller) -> float:
        """Count a request; return 0.0, or the seconds after which the caller may try again."""
        return self._keys.may_request(caller.key_id)


class GatheredTotals:
    """Implements ports.DeliveryLog. While a query runs, the ids of further requests gather for the next one.

    `read` blocks, so it runs in a thread of `executor`. A database that hangs must not hold all requests of a process:
    after a failure, requests are refused for a second without a query.
    """

    def __init__(
        self,
        read: Callable[[Collection[str]], Mapping[str, Totals]],
        executor: Executor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._executor = executor
        self._monotonic = monotonic
        self._waiting: list[tuple[Sequence[str], asyncio.Future[Mapping[str, Totals]]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._away: LedgerAway | None = None
        self._away_until_s = 0.0

    async def totals(self, ids: Sequence[str]) -> Mapping[str, DeliveryTotals]:
        """Return the totals of these subscriptions, without those that never had an attempt; LedgerAway."""
        if not ids:
            return {}
        if self._away is not None and self._monotonic() < self._away_until_s:
            raise self._away
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Mapping[str, Totals]] = loop.create_future()
        self._waiting.append((ids, found))
        if self._reading is None:
            self._reading = loop.create_task(self._read_waiting(loop))
        try:
            async with asyncio.timeout(_ANSWER_S):
                totals = await found
        except DatabaseAway as error:
            raise self._is_away(str(error)) from error
        except TimeoutError as error:
            raise self._is_away(f"the database of the ledger did not respond within {_ANSWER_S:g} s") from error
        self._away = None
        return {id_: _delivery_totals(totals[id_]) for id_ in ids if id_ in totals}

    def _is_away(self, reason: str) -> LedgerAway:
        self._away = LedgerAway(reason)
        self._away_until_s = self._monotonic() + _AWAY_S
        return self._away

    async def _read_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            wanted = sorted({id_ for ids, found in waiting if not found.done() for id_ in ids})
            try:
                totals = await loop.run_in_executor(self._executor, self._read, wanted)
            except Exception as error:
                for _, found in waiting:
                    if not found.done():
                        found.set_exception(error)
            else:
                for _, found in waiting:
                    if not found.done():
                        found.set_result(totals)
        self._reading = None


class GuardedTests:
    """Implements ports.TestDeliveries."""

    def __init__(self, deliveries: InlineDeliveries) -> None:
        self._deliveries = deliveries

    async def send(self, delivery: TestDelivery) -> TestResult:
        """Make one attempt; NotDone if none was made, Unavailable if it cannot be logged."""
        try:
            return await self._send(delivery)
        except NotStarted as error:
            raise NotDone(str(error)) from error

    async def _send(self, delivery: TestDelivery) -> TestResult:
        sent = self._deliveries.send(
            InlineDelivery(
                sender=delivery.sender,
                customer_id=delivery.customer_id,
                key_id=delivery.key_id,
                url=delivery.url,
                event_id=delivery.event_id,
                body=delivery.body,
                subscription=delivery.subscription,
                request_id=delivery.request_id,
            )
        )
        result = await asyncio.wrap_future(sent)
        return TestResult(result.log_id, result.status, result.reason)


def _delivery_totals(totals: Totals) -> DeliveryTotals:
    return DeliveryTotals(totals.delivered, totals.dead, totals.last_at_ms, totals.last_status)

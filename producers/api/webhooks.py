"""What both flavours do with the webhooks of a customer: find, list, write.

A webhook of another customer, or of another sender, is unknown here, exactly as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from producers.api.flavours import Call
from producers.api.ports import ChangeWriter, DeliveryLog, DeliveryTotals, RequestMetrics, Subscriptions
from producers.api.refusals import Refusal, RequestProblem, invalid, unknown_webhook
from producers.subscriptions.changes import Apply, Change, Command, Delete, Result
from schemas.catalog.errors import SubscriptionError, TooManySubscriptions, Unavailable, UnknownSubscription
from schemas.senders.sender import Sender
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import Draft
from schemas.subscriptions.subscription import EVERY_TYPE, Subscription

_AGE: Final = attrgetter("created_at_ms", "id")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription as a customer sees it. `is_active`: it is not paused, and delivery has not disabled it."""

    subscription: Subscription
    is_active: bool
    totals: DeliveryTotals


class Webhooks:
    """The webhooks of the customers of one sender."""

    def __init__(
        self,
        sender: Sender,
        subscriptions: Subscriptions,
        changes: ChangeWriter,
        deliveries: DeliveryLog,
        metrics: RequestMetrics,
    ) -> None:
        self.sender: Final = sender
        self._subscriptions = subscriptions
        self._changes = changes
        self._deliveries = deliveries
        self._metrics = metrics

    async def own(self, call: Call) -> Subscription:
        """Return the customer's webhook with the id in the path; Refusal if there is none.

        A webhook that this process does not know may have been made by another one, a moment ago.
        """
        found = self._subscriptions.find(call.webhook_id)
        if not self._is_own(found, call):
            # Also for a webhook of another customer, whose answer must not differ from that for an unknown id.
            found = await self._subscriptions.find_latest(call.webhook_id)
        if found is None or not self._is_own(found, call):
            raise unknown_webhook()
        call.subscription_id = found.id
        return found

    def _is_own(self, found: Subscription | None, call: Call) -> bool:
        return found is not None and (found.sender, found.customer_id) == (self.sender.name, call.customer_id)

    def all_of(self, call: Call) -> list[Subscription]:
        """Return the customer's webhooks, the oldest first."""
        return sorted(self._subscriptions.of_customer(self.sender.name, call.customer_id), key=_AGE)

    def is_active(self, subscription: Subscription) -> bool:
        """Return whether events of now would be sent."""
        return not subscription.paused and not self._subscriptions.is_disabled(subscription)

    async def with_totals(self, subscriptions: Sequence[Subscription]) -> list[Webhook]:
        """Return webhooks with their totals; LedgerAway."""
        totals = await self._deliveries.totals([one.id for one in subscriptions]) if subscriptions else {}
        return [self.with_given(one, totals.get(one.id, DeliveryTotals())) for one in subscriptions]

    def with_given(self, subscription: Subscription, totals: DeliveryTotals) -> Webhook:
        """Return a webhook with these totals."""
        return Webhook(subscription, self.is_active(subscription), totals)

    async def create(self, call: Call, draft: Draft) -> Result:
        """Create a webhook; Refusal also if the customer has as many as the sender allows."""
        result = await self._write(call, Apply(draft))
        call.subscription_id = result.id
        return result

    async def change(
        self, call: Call, current: Subscription, changes: Changes, *, touches: bool = False
    ) -> Subscription:
        """Change a webhook and return the new record. A request without fields writes nothing.

        One whose fields have these values already writes a new time of update if it `touches`, otherwise nothing.
        """
        if changes == Changes():
            return current
        disabled = self._subscriptions.disabled_activation(current.id)
        result = await self._write(call, Change(current.id, changes, disabled, touches))
        return result.subscription or current

    async def delete(self, call: Call, current: Subscription) -> None:
        """Delete a webhook; Refusal if another request was faster."""
        await self._write(call, Delete(current.id))

    async def _write(self, call: Call, command: Command) -> Result:
        try:
            result = await self._changes.write(command, call.caller, call.request_id)
        except SubscriptionError as error:
            self._metrics.on_write("refused")
            raise self._refusal(command, error) from error
        except Unavailable:
            self._metrics.on_write("unavailable")
            raise
        self._metrics.on_write(result.effect)
        return result

    def _refusal(self, command: Command, error: SubscriptionError) -> Refusal:
        if isinstance(error, TooManySubscriptions):
            return self._too_many()
        # Another request deleted it after this one had found it.
        if isinstance(error, UnknownSubscription) or (
            not isinstance(command, Apply) and self._subscriptions.find(command.id) is None
        ):
            return unknown_webhook()
        return invalid(*(RequestProblem((), "invalid_value", sentence) for sentence in error.problems))

    def _too_many(self) -> Refusal:
        most = self.sender.max_subscriptions
        return invalid(RequestProblem((), "too_many", f"at most {most} webhooks are allowed; delete one first"))


def names_every_type(event_types: Iterable[str]) -> bool:
    """Return whether a record takes every type. Commands may write `*`, which neither API has."""
    return any(pattern in EVERY_TYPE for pattern in event_types)

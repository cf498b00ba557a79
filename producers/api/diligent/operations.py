"""The operations of Diligent's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from producers.api.diligent import answers, requests
from producers.api.fields import Rules
from producers.api.flavours import Answer, ApiOperation, Call, Flavour, Routes
from producers.api.ports import DeliveryTotals, LedgerAway
from producers.api.webhooks import Webhooks
from schemas.subscriptions.subscription import Subscription

FLAVOUR: Final = Flavour(
    name="diligent",
    key_header=b"x-api-key",  # D10
    key_in=lambda value: value,
    challenge="X-API-KEY",
    paths="all paths of this API begin with /webhooks and do not end in a slash",  # D9
    error_body=answers.error_body,
)
# The answer to an update has the latest attempt, but the update itself does not need the ledger.
WITHOUT_TOTALS: Final = (("X-Signpost-Unavailable", "last_delivery_at, last_delivery_status"),)


class DiligentApi:
    """The operations, on the webhooks of the sender `diligent`."""

    def __init__(self, webhooks: Webhooks, rules: Rules, new_id: Callable[[], str]) -> None:
        self._webhooks = webhooks
        self._rules = rules
        self._new_id = new_id
        self._every_type = rules.sender.subscribable

    @property
    def routes(self) -> Routes:
        """The paths, without a prefix and without a final slash (D9)."""
        return {
            "/webhooks": {
                "GET": ApiOperation("list", self._list),
                "POST": ApiOperation("create", self._create, writes=True),
            },
            "/webhooks/{webhook_id}": {
                "GET": ApiOperation("get", self._get),
                "PATCH": ApiOperation("update", self._update, writes=True),
                "DELETE": ApiOperation("delete", self._delete, writes=True),
            },
        }

    async def _create(self, call: Call) -> Answer:
        draft = requests.draft_of(await call.read_fields(), self._new_id(), call.customer_id, self._rules)
        result = await self._webhooks.create(call, draft)
        if result.subscription is None:
            raise AssertionError("a new webhook has a record")
        return self._answer(201, result.subscription, DeliveryTotals())

    async def _list(self, call: Call) -> Answer:
        oldest_first = await self._webhooks.with_totals(self._webhooks.all_of(call))  # D32
        return Answer(200, answers.listed(oldest_first, self._every_type))

    async def _get(self, call: Call) -> Answer:
        (webhook,) = await self._webhooks.with_totals([await self._webhooks.own(call)])
        return Answer(200, answers.shown(webhook, self._every_type))

    async def _update(self, call: Call) -> Answer:
        current = await self._webhooks.own(call)
        changes = requests.changes_of(await call.read_fields(), current, self._rules)
        changed = await self._webhooks.change(call, current, changes)
        try:
            (webhook,) = await self._webhooks.with_totals([changed])
        except LedgerAway:
            return self._answer(200, changed, DeliveryTotals(), WITHOUT_TOTALS)
        return Answer(200, answers.shown(webhook, self._every_type))

    async def _delete(self, call: Call) -> Answer:
        await self._webhooks.delete(call, await self._webhooks.own(call))
        return Answer(204)

    def _answer(
        self,
        status: int,
        subscription: Subscription,
        totals: DeliveryTotals,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        webhook = self._webhooks.with_given(subscription, totals)
        return Answer(status, answers.shown(webhook, self._every_type), headers)

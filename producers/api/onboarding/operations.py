"""The operations of the Onboarding API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from producers.api.fields import Rules
from producers.api.flavours import Answer, ApiOperation, Call, Flavour, Routes
from producers.api.onboarding import answers, requests
from producers.api.ports import TestDeliveries, TestDelivery
from producers.api.refusals import unknown_webhook
from producers.api.webhooks import Webhooks
from schemas.subscriptions.subscription import Subscription

_BEARER: Final = re.compile(rb"bearer +([^ ]+)", re.IGNORECASE)


def _key_in(value: bytes) -> bytes | None:
    found = _BEARER.fullmatch(value)
    return None if found is None else found[1]


FLAVOUR: Final = Flavour(
    name="onboarding",
    key_header=b"authorization",
    key_in=_key_in,
    challenge="Bearer",
    paths="all paths of this API begin with /api/v1/webhooks/ and end in a slash",  # O30
    error_body=answers.error_body,
)


class OnboardingApi:
    """The operations, on the webhooks of the sender `onboarding`. `clock` is in Unix seconds."""

    def __init__(
        self,
        webhooks: Webhooks,
        rules: Rules,
        tests: TestDeliveries,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._webhooks = webhooks
        self._rules = rules
        self._tests = tests
        self._clock = clock
        self._new_id = new_id

    @property
    def routes(self) -> Routes:
        """The paths. The first one that matches counts, so that `test` is no id (O31)."""
        return {
            "/api/v1/webhooks/": {
                "GET": ApiOperation("list", self._list),
                "POST": ApiOperation("create", self._create, writes=True),
            },
            "/api/v1/webhooks/test/": {"POST": ApiOperation("test", self._test, writes=True)},
            "/api/v1/webhooks/{webhook_id}/": {
                "GET": ApiOperation("get", self._get),
                "PATCH": ApiOperation("update", self._update, writes=True),
                "DELETE": ApiOperation("delete", self._delete, writes=True),
            },
        }

    async def _create(self, call: Call) -> Answer:
        draft = requests.draft_of(await call.read_fields(), self._new_id(), call.customer_id, self._rules)
        result = await self._webhooks.create(call, draft)
        if result.subscription is None or result.secret is None:
            raise AssertionError("a new webhook has a record and a generated secret")
        return Answer(201, answers.created(result.subscription, result.secret))

    async def _list(self, call: Call) -> Answer:
        newest_first = self._webhooks.all_of(call)[::-1]  # O25
        return Answer(200, answers.listed(await self._webhooks.with_totals(newest_first)))

    async def _get(self, call: Call) -> Answer:
        (webhook,) = await self._webhooks.with_totals([await self._own(call)])
        return Answer(200, answers.shown(webhook))

    async def _update(self, call: Call) -> Answer:
        current = await self._own(call)
        changes = requests.changes_of(await call.read_fields(), current, self._rules)
        await self._webhooks.change(call, current, changes, touches=True)  # O23
        return Answer(200, answers.updated(current.id))

    async def _delete(self, call: Call) -> Answer:
        await self._webhooks.delete(call, await self._own(call))
        return Answer(200, answers.DELETED)

    async def _test(self, call: Call) -> Answer:
        url = requests.url_to_test(await call.read_fields(), self._rules)
        event_id = self._new_id()
        sender = self._rules.sender
        delivery = TestDelivery(
            sender=sender.name,
            customer_id=call.customer_id,
            key_id=call.caller.key_id,
            url=url,
            event_id=event_id,
            subscription=requests.signing_webhook(self._webhooks.all_of(call), url, self._webhooks.is_active),
            body=requests.body_of_test(sender, event_id, call.customer_id, self._clock()),
            request_id=call.request_id,
        )
        result = await self._tests.send(delivery)
        return Answer(200 if answers.is_delivered(result) else 502, answers.tested(result))

    async def _own(self, call: Call) -> Subscription:
        if not requests.is_webhook_id(call.webhook_id):
            raise unknown_webhook()
        return await self._webhooks.own(call)

"""The FastAPI application of both flavours.

FastAPI routes; nothing of a request or an answer passes through its models. Redirects from one spelling of a path to
another are off: the documents give each path one spelling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from producers.api.diligent.operations import FLAVOUR as DILIGENT
from producers.api.diligent.operations import DiligentApi
from producers.api.fields import Rules
from producers.api.flavours import NO_OPERATIONS, Flavour, Operation, Routes
from producers.api.gateway import BODY_TIMEOUT_S, Gateway
from producers.api.onboarding.operations import FLAVOUR as ONBOARDING
from producers.api.onboarding.operations import OnboardingApi
from producers.api.ports import (
    ApiMetrics,
    Changes,
    DeliveryLog,
    Keys,
    Subscriptions,
    SuccessSampler,
    TestDeliveries,
)
from producers.api.webhooks import Webhooks
from schemas.senders.sender import Sender
from schemas.subscriptions.rules import Bounds, UrlRules

# Unknown paths under this one get the errors of the Onboarding API, all others those of Diligent's.
_ONBOARDING_ROOT: Final = "/api/"


def app_of(
    *,
    keys: Keys,
    subscriptions: Subscriptions,
    changes: Changes,
    deliveries: DeliveryLog,
    tests: TestDeliveries,
    metrics: ApiMetrics,
    sampler: SuccessSampler,
    senders: Mapping[str, Sender],
    urls: UrlRules,
    bounds: Bounds,
    clock: Callable[[], float],
    new_id: Callable[[], str],
    monotonic: Callable[[], float] = time.monotonic,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> FastAPI:
    """Return the application. A flavour is served if its sender is among `senders`.

    `clock` is in Unix seconds. `new_id` returns a new UUID in its canonical form, for webhooks, requests and events.
    """
    gateway = Gateway(keys, metrics, sampler=sampler, new_id=new_id, monotonic=monotonic, body_timeout_s=body_timeout_s)
    flavours: list[tuple[Flavour, Callable[[Webhooks, Rules], Routes]]] = [
        (ONBOARDING, lambda webhooks, rules: OnboardingApi(webhooks, rules, tests, clock, new_id).routes),
        (DILIGENT, lambda webhooks, rules: DiligentApi(webhooks, rules, new_id).routes),
    ]
    routes: list[BaseRoute] = []
    for flavour, routes_of in flavours:
        if (sender := senders.get(flavour.name)) is not None:
            webhooks = Webhooks(sender, subscriptions, changes, deliveries, metrics)
            paths = routes_of(webhooks, Rules(sender, urls, bounds))
            routes += [Route(path, _Endpoint(gateway, flavour, operations)) for path, operations in paths.items()]
    app = FastAPI(routes=routes, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.default = _UnknownPath(gateway, app.router.default)
    return app


class _Endpoint:
    """A path of a flavour, for all methods."""

    def __init__(self, gateway: Gateway, flavour: Flavour, operations: Mapping[str, Operation]) -> None:
        self._gateway = gateway
        self._flavour = flavour
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A route's pattern also matches a path that ends with a line feed.
        operations = NO_OPERATIONS if scope["path"].endswith("\n") else self._operations
        await self._gateway.serve(self._flavour, operations, scope, receive, send)


class _UnknownPath:
    """All other paths."""

    def __init__(self, gateway: Gateway, other_types: ASGIApp) -> None:
        self._gateway = gateway
        self._other_types = other_types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a WebSocket, which is closed
            await self._other_types(scope, receive, send)
            return
        flavour = ONBOARDING if scope["path"].startswith(_ONBOARDING_ROOT) else DILIGENT
        await self._gateway.serve(flavour, NO_OPERATIONS, scope, receive, send)

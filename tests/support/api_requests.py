"""A valid request of every operation of both REST APIs."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import pytest

# The id of no webhook.
NOBODY: Final = "99999999-9999-4999-8999-999999999999"
URL: Final = "https://hooks.example.com/s"


class Request(NamedTuple):
    """A valid request of an operation. `{id}` in the path stands for the id of a webhook."""

    name: str
    method: str
    path: str
    body: Any = None
    writes: bool = True

    def __str__(self) -> str:
        return f"{self.flavour}-{self.name}"

    @property
    def is_onboarding(self) -> bool:
        """Whether it is a request of the Onboarding API."""
        return self.path.startswith("/api/")

    @property
    def flavour(self) -> str:
        """The API, by the name of its sender."""
        return "onboarding" if self.is_onboarding else "diligent"

    @property
    def content(self) -> bytes:
        """The body as bytes; empty if there is none."""
        return b"" if self.body is None else json.dumps(self.body).encode()

    def path_of(self, id_: str) -> str:
        """Return the path for a webhook."""
        return self.path.format(id=id_)

    def headers(self, key: str) -> dict[str, str]:
        """Return the header with an API key."""
        return {"Authorization": f"Bearer {key}"} if self.is_onboarding else {"X-API-KEY": key}


REQUESTS: Final = (
    Request("create", "POST", "/api/v1/webhooks/", {"event_type": "all", "webhook_url": URL}),
    Request("list", "GET", "/api/v1/webhooks/", writes=False),
    Request("get", "GET", "/api/v1/webhooks/{id}/", writes=False),
    Request("update", "PATCH", "/api/v1/webhooks/{id}/", {"description": "new"}),
    Request("delete", "DELETE", "/api/v1/webhooks/{id}/"),
    Request("test", "POST", "/api/v1/webhooks/test/", {"webhook_url": URL}),
    Request("create", "POST", "/webhooks", {"webhook_url": URL}),
    Request("list", "GET", "/webhooks", writes=False),
    Request("get", "GET", "/webhooks/{id}", writes=False),
    Request("update", "PATCH", "/webhooks/{id}", {"is_active": False}),
    Request("delete", "DELETE", "/webhooks/{id}"),
)
OF_ONE: Final = tuple(request for request in REQUESTS if "{id}" in request.path)
# A request of the other API, by whether a request is of the Onboarding API.
OTHER: Final = {True: REQUESTS[-1], False: REQUESTS[0]}
EACH: Final = pytest.mark.parametrize("request_", REQUESTS, ids=str)
EACH_OF_ONE: Final = pytest.mark.parametrize("request_", OF_ONE, ids=str)

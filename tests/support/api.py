"""The REST API for tests: real processes on a real broker, and a client that keeps bytes and headers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deploy.config.sealing_key import sealing_keys_of
from producers.keys.writer import CreatedKey, KeyWriter, NewKey
from schemas.keys.hashing import KeyHasher
from schemas.records.api_key import Scope
from tests.support.pipeline import Pipeline
from tests.support.roles import Role
from tests.support.subscriptions import AUTHOR


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class ApiClient:
    """A customer of one API process. Each request has a connection of its own."""

    def __init__(self, base_url: str, key: str | None, *, flavour: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port
        self._headers = {} if key is None else _key_header(key, flavour)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = 30
    ) -> Answer:
        """Send a request; `body` is sent as JSON, or as it is if it is bytes."""
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {} if sent is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, path, sent, given | self._headers | dict(headers or {}))
            response = connection.getresponse()
            found = {k.lower(): v for k, v in response.getheaders()}
            return Answer(response.status, response.reason, found, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """GET."""
        return self.request("GET", path)

    def post(self, path: str, body: Any) -> Answer:
        """POST."""
        return self.request("POST", path, body)

    def patch(self, path: str, body: Any) -> Answer:
        """PATCH."""
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self.request("DELETE", path)


def key_of(pipeline: Pipeline, sender: str | None, customer: str | None = "acme", scope: Scope = "write") -> CreatedKey:
    """Create an API key; without a sender, an operator's key."""
    hasher = KeyHasher(pipeline.names.api_keys, [key for _, key in sealing_keys_of(pipeline.settings)])
    writer = KeyWriter(pipeline.settings.kafka_properties(), pipeline.names, hasher)
    try:
        return writer.create(NewKey(sender=sender, customer_id=customer if sender else None, scope=scope), AUTHOR)
    finally:
        writer.close()


def start_api(pipeline: Pipeline, database_url: str, *, ready: bool = True, **settings: Any) -> Role:
    """Start an API process of a pipeline."""
    return pipeline.start("api", ready=ready, database_url=database_url, **settings)


def client_of(role: Role, key: str | None, flavour: str = "onboarding") -> ApiClient:
    """Return a customer of an API process."""
    assert role.address is not None
    return ApiClient(role.address, key, flavour=flavour)


def _key_header(key: str, flavour: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if flavour == "onboarding" else {"X-API-KEY": key}

"""An API process with an API key of each product, for tests of its clients. Nothing is sent beyond this machine.

Test deliveries use a forward proxy, which opens tunnels to one endpoint only: that of the documents' examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumers.ledger.database import migrate
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path
from tests.support.api import ApiClient, client_of, start_api
from tests.support.certificates import Authority
from tests.support.dns import NO_NAME, DnsServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.tools import Commands

APIS = ("onboarding", "diligent")
CUSTOMER = "acme"
# The host of all endpoints in the examples of the Onboarding API, and the path that responds with 404 there.
HOST = "api.yourcompany.com"
MISSING = "/webhooks/missing"


@dataclass(frozen=True, slots=True)
class ServedApi:
    """A running API. `keys` are by sender; they may write. `database` is the file of its ledger.

    `endpoint` is at https://api.yourcompany.com, for this API alone.
    """

    role: Role
    pipeline: Pipeline
    database: Path
    endpoint: Receiver
    keys: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address, without a final slash."""
        assert self.role.address is not None
        return self.role.address

    def client(self, sender: str) -> ApiClient:
        """Return a client with the key of a product."""
        return client_of(self.role, self.keys[sender], sender)


@contextmanager
def served_api(bootstrap_servers: str, prefix: str, folder: Path, **settings: Any) -> Iterator[ServedApi]:
    """Start an API on topics of its own. It resolves no host name."""
    with ExitStack() as stack:
        starter = stack.enter_context(RoleStarter.into(folder))
        names = DnsServer(lambda _name, _queries: [NO_NAME])
        stack.callback(names.close)
        authority = Authority(folder)
        behave = by_path({MISSING: always(CannedResponse(404))}, always(CannedResponse()))
        endpoint = stack.enter_context(Receiver(behave, tls=authority.server(HOST)))
        proxy = ForwardProxy(only={HOST: endpoint.port})
        stack.callback(proxy.close)
        file = folder / "ledger.db"
        database = f"sqlite:///{file}"
        migrate(database)
        given = {
            "sources": [],
            "dns_servers": [names.address],
            "proxy": f"http://127.0.0.1:{proxy.port}",
            "proxy_resolves": True,
            "ca_bundle": str(authority.roots),
            "api_rate_limit": 0,
            **settings,
        }
        pipeline = Pipeline(bootstrap_servers, prefix, starter, **given)
        keys = _keys_of(pipeline)
        yield ServedApi(start_api(pipeline, database), pipeline, file, endpoint, keys)


def _keys_of(pipeline: Pipeline) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as environment:
        signpost = Commands(pipeline.env(), environment)
        keys = {}
        for sender in APIS:
            made = signpost("keys", "create", "--sender", sender, "--customer", CUSTOMER, "--json")
            assert made.code == 0, made.err
            keys[sender] = json.loads(made.out)["key"]
    return keys

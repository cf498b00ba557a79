"""An API process with an API key of each product, for tests of its clients. Nothing is sent beyond this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumers.ledger.database import migrate
from tests.support.api import ApiClient, client_of, start_api
from tests.support.dns import NO_NAME, DnsServer
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.tools import Commands

APIS = ("onboarding", "diligent")
CUSTOMER = "acme"


@dataclass(frozen=True, slots=True)
class ServedApi:
    """A running API. `keys` are by sender; they may write."""

    role: Role
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
        database = f"sqlite:///{folder / 'ledger.db'}"
        migrate(database)
        given = {"sources": [], "dns_servers": [names.address], "api_rate_limit": 0, **settings}
        pipeline = Pipeline(bootstrap_servers, prefix, starter, **given)
        signpost = Commands(pipeline.env(), stack.enter_context(pytest.MonkeyPatch.context()))
        keys = {}
        for sender in APIS:
            made = signpost("keys", "create", "--sender", sender, "--customer", CUSTOMER, "--json")
            assert made.code == 0, made.err
            keys[sender] = json.loads(made.out)["key"]
        yield ServedApi(start_api(pipeline, database), keys)

"""The API process of all tests of this folder. It has the rules for URLs of production: https only."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from deploy.dev.broker import Broker
from tests.support.served_api import ServedApi, served_api
from tests.support.topics import remove_topics


@pytest.fixture(scope="package")
def api(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    """A running API with a ledger of its own. Test deliveries reach one endpoint."""
    prefix = f"test-api-{time.time_ns():x}."
    folder = tmp_path_factory.mktemp("api")
    with served_api(broker.bootstrap_servers, prefix, folder, allow_http=False) as served:
        yield served
    remove_topics(broker.bootstrap_servers, prefix)

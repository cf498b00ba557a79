"""What tests of commands on a broker share: an installation with its topics, and the commands with its settings."""

from __future__ import annotations

import pytest

from deploy.dev.broker import Broker
from tests.support.installation import Installation
from tests.support.tools import Commands


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    """An installation of its own."""
    return Installation(broker.bootstrap_servers, prefix).make_topics()


@pytest.fixture
def signpost(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands as somebody types them there."""
    return Commands(here.env, monkeypatch)

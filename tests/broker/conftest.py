"""Fixtures of command tests on a broker: an installation with its topics, and commands with its settings."""

from __future__ import annotations

import pytest

from deploy.dev.broker import Broker
from tests.support.installation import Installation
from tests.support.tools import Commands


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    """An installation of this test, with its topics."""
    return Installation(broker.bootstrap_servers, prefix).make_topics()


@pytest.fixture
def signpost(here: Installation, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The `signpost` commands, with the settings of the installation."""
    return Commands(here.env, monkeypatch)

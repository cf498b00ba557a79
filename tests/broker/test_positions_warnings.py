"""Warnings of a role about its brokers at the start."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    ConfigResource,
    ResourceType,
)

from consumers.kafka.safety import RETENTION_MINUTES, about_brokers, warnings
from deploy.dev.broker import Broker
from tests.support.installation import Installation


def test_role_warns_about_short_retention_of_positions(
    broker: Broker, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A role warns at its start about brokers that forget positions too early, and works nevertheless."""
    here = Installation(broker.bootstrap_servers, prefix).make_topics()
    resource = ConfigResource(ResourceType.BROKER, str(min(here.admin.list_topics(timeout=10).brokers)))
    (future,) = here.admin.describe_configs([resource]).values()
    minutes = future.result(30)["offsets.retention.minutes"].value

    with here.router() as router:
        router.wait_ready()

    expected = about_brokers({"offsets.retention.minutes": minutes})
    assert bool(expected) is (int(minutes) < RETENTION_MINUTES)
    assert warnings(here.admin, [here.events_topic]) == [str(risk) for risk in expected]
    assert ("kafka.misconfigured" in capsys.readouterr().out) is bool(expected)

"""Partition recovery of the router, after the client has lost a request: its futures never end."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.positions import CommittedPositions
from consumers.kafka.source_positions import SourcesTopic
from consumers.router.source_positions import SourcePositionsRecorder
from consumers.router.source_recovery import Positions, SourceRecovery
from tests.support.log_model import Log, at_once
from tests.support.router_model import Broker

pytestmark = pytest.mark.promise(1)

KEY = ("events", 0)


@dataclass
class LosingBroker(Broker):
    """Loses requests of these names."""

    losing: set[str] = field(default_factory=set)

    def describe_topics(self, asked: Any, **options: object) -> dict[str, Future[Any]]:
        found = super().describe_topics(asked, **options)
        return dict.fromkeys(found, Future()) if "describe_topics" in self.losing else found

    def list_offsets(self, asked: dict[TopicPartition, Any], **options: object) -> dict[TopicPartition, Future[Any]]:
        found = super().list_offsets(asked, **options)
        return dict.fromkeys(found, Future()) if "list_offsets" in self.losing else found


def recovery_of(broker: LosingBroker) -> SourceRecovery:
    def commit(positions: Positions, done: Any) -> None:
        broker.committed |= positions
        done(True)

    positions = cast("CommittedPositions", broker)
    recorder = SourcePositionsRecorder(cast("SourcesTopic", broker), positions, lambda: broker.now_ms)
    return SourceRecovery(
        cast("AdminClient", broker), positions, recorder, "now", [KEY], commit=commit, on_truncated=lambda _: None
    )


@pytest.mark.parametrize("lost", ["describe_topics", "list_offsets"])
def test_source_starts_after_a_lost_request(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """A request that never ends is given up after half a minute and repeated, so a new source starts."""
    monkeypatch.setattr("consumers.kafka.positions.in_thread", at_once)
    monkeypatch.setattr("consumers.router.source_positions.in_thread", at_once)
    broker = LosingBroker(logs={KEY: Log(end=7)}, losing={lost})
    recovery = recovery_of(broker)
    assert not any(recovery.poll(1_000.0 + number / 10) for number in range(100))
    broker.losing.clear()
    found = next(filter(None, (recovery.poll(1_010.0 + number) for number in range(60))))
    assert found == {KEY: 7}
    assert recovery.error is not None
    assert "no response of the brokers" in recovery.error

"""The log of test deliveries after faults of its broker or its producer: appends fail in time, and continue."""

from __future__ import annotations

from contextlib import closing

import pytest

from consumers.kafka.append_log import AppendLog
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from tests.support.topics import create_topic, read_topic
from tests.support.waiting import wait_until


def test_appends_continue_after_the_broker_returns(own_broker: Broker) -> None:
    """A record that no broker acknowledges fails in time; later ones are appended."""
    create_topic(own_broker.bootstrap_servers, "tests")
    kafka = {"bootstrap.servers": own_broker.bootstrap_servers}
    with closing(AppendLog(kafka, "tests", timeout_s=3.0)) as log:
        assert log.append(b"first").result(60) == 0
        own_broker.kill()
        with pytest.raises(Unavailable, match="tests could not be written"):
            log.append(b"lost").result(60)
        own_broker.start()

        assert wait_until(lambda: _appended(log), what="the broker acknowledges a record") >= 1

    with pytest.raises(Unavailable, match="could not be written"):
        log.append(b"too late").result(60)
    values = [message.value() for message in read_topic(own_broker.bootstrap_servers, "tests")]
    assert values[0] == b"first"
    assert b"too late" not in values


def test_producer_with_a_fatal_error_is_replaced(broker: Broker, prefix: str) -> None:
    """A fatal error of the producer fails the record that caused it, and later records are appended without a gap."""
    topic = f"{prefix}tests"
    create_topic(broker.bootstrap_servers, topic, max_message_bytes="1000")
    # With this property, a record that the broker refuses is a fatal error of the producer.
    kafka = {"bootstrap.servers": broker.bootstrap_servers, "enable.gapless.guarantee": "true"}
    with closing(AppendLog(kafka, topic)) as log:
        assert log.append(b"first").result(60) == 0
        with pytest.raises(Unavailable, match="could not be written"):
            log.append(b"x" * 5_000).result(60)

        assert wait_until(lambda: _appended(log), what="a new producer appends a record") == 1


def _appended(log: AppendLog) -> int:
    """Return the offset of a new record; AssertionError if it failed."""
    try:
        return log.append(b"again").result(60)
    except Unavailable as error:
        raise AssertionError(str(error)) from error

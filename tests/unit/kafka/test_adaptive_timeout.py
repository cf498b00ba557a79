"""The adaptive timeout of requests to brokers."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumers.kafka.adaptive_timeout import AdaptiveTimeout


def test_timeout_doubles_the_next_one():
    """A slow broker gets more time for each request, and a quick response resets the timeout."""
    timeout = AdaptiveTimeout()
    waited = []
    for _ in range(4):
        waited.append(timeout.seconds)
        with pytest.raises(KafkaException), timeout.measured():
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    assert waited == [10.0, 20.0, 30.0, 30.0]
    with pytest.raises(KafkaException), timeout.measured():
        raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
    assert timeout.seconds == 30.0
    with timeout.measured():
        pass
    assert timeout.seconds == 10.0


def test_slow_response_raises_the_timeout():
    """The next timeout is twice the last response time, within its bounds."""
    now = [0.0]
    timeout = AdaptiveTimeout(now_s=lambda: now[0])
    for took_s, seconds in ((9.0, 18.0), (18.0, 30.0), (1.0, 10.0)):
        with timeout.measured():
            now[0] += took_s
        assert timeout.seconds == seconds

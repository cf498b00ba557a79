"""How long an answer of the brokers is waited for."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumers.runtime.patience import Patience


def test_each_answer_that_does_not_come_is_waited_for_twice_as_long():
    """A broker that takes long over each answer gets the time that it needs; a quick one is asked again soon."""
    patience, waited = Patience(), []
    for _ in range(4):
        waited.append(patience.seconds)
        with pytest.raises(KafkaException), patience.waiting():
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    assert waited == [10.0, 20.0, 30.0, 30.0]
    with pytest.raises(KafkaException), patience.waiting():
        raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
    assert patience.seconds == 30.0
    with patience.waiting():
        pass
    assert patience.seconds == 10.0

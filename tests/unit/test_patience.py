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


def test_an_answer_that_took_long_is_expected_to_do_so_again():
    """The next question to a slow broker does not begin with time-outs."""
    now = [0.0]
    patience = Patience(now_s=lambda: now[0])
    for took_s, seconds in ((9.0, 18.0), (18.0, 30.0), (1.0, 10.0)):
        with patience.waiting():
            now[0] += took_s
        assert patience.seconds == seconds

"""Requests that the client loses, so that their futures never end, are given up."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.adaptive_timeout import AdaptiveTimeout
from consumers.kafka.admin import NotSettled, failed, metadata_of, reason_of, result
from consumers.kafka.pending import Pending
from consumers.kafka.positions import CommittedPositions
from consumers.kafka.topic_reader import TopicReader
from schemas.catalog.errors import NoResponse

KEY = ("jobs.0s", 0)


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def broken(code: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return future


def test_responses_are_returned_once_all_have_arrived() -> None:
    """A request has no result before all its responses are there."""
    late: Future[int] = Future()
    pending = Pending({"a": done(1), "b": late}, lambda value: value + 1, 15.0)
    assert pending.poll(0.0) is None
    late.set_result(2)
    assert pending.poll(1.0) == {"a": 2, "b": 3}
    assert pending.wait() == {"a": 2, "b": 3}


def test_lost_request_counts_as_timed_out() -> None:
    """A request without a response fails after twice its timeout, from its first poll on."""
    pending = Pending({"a": done(1), "b": Future()}, int, 15.0)
    assert pending.poll(100.0) is None
    assert pending.poll(130.0) is None
    with pytest.raises(KafkaException) as lost:
        pending.poll(130.1)
    assert reason_of(lost.value).code() == KafkaError._TIMED_OUT


def test_waiting_for_a_lost_request_ends() -> None:
    """A blocking caller waits for twice the timeout as well."""
    with pytest.raises(KafkaException) as lost:
        Pending({"a": Future()}, int, 0.005).wait()
    assert isinstance(failed(lost.value, "the offsets"), NoResponse)


def test_error_of_a_response_is_raised() -> None:
    """A failed response fails the request."""
    pending = Pending({"a": broken(KafkaError.NOT_LEADER_FOR_PARTITION)}, int, 15.0)
    with pytest.raises(KafkaException):
        pending.poll(0.0)


class LosingAdmin:
    """An admin client that has lost all requests: it lists topics, and its futures never end."""

    def __init__(self, brokers: int = 1) -> None:
        self._metadata = SimpleNamespace(brokers=dict.fromkeys(range(brokers)), topics={})

    def list_topics(self, timeout: float) -> SimpleNamespace:
        return self._metadata

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: object) -> dict[TopicPartition, Future[Any]]:
        return {place: Future() for place in asked}


def test_reader_gives_up_lost_requests() -> None:
    """A reader whose request is lost reports that no broker responds, so that its caller asks again."""
    reader = TopicReader({}, cast("AdminClient", LosingAdmin()), "group")
    reader._timeout.seconds = 0.005
    with pytest.raises(NoResponse, match="no response of the brokers"):
        reader.ranges([KEY])


def test_positions_give_up_lost_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions whose request is lost are not found, and the next request waits longer."""
    timeout = AdaptiveTimeout(0.005)
    positions = CommittedPositions({}, cast("AdminClient", LosingAdmin()), "group", timeout)
    monkeypatch.setattr(positions, "_committed", lambda _: {KEY: (5, "")})
    with pytest.raises(KafkaException):
        positions.fetch([KEY])
    assert timeout.seconds > 0.005


def test_commands_give_up_lost_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that waits for a single response ends with an error that says what it waited for."""
    monkeypatch.setattr("consumers.kafka.admin.TIMEOUT_S", -4.99)
    with pytest.raises(NoResponse, match="create jobs: no response in time"):
        result(Future(), "create jobs")


def test_cluster_without_brokers_has_to_settle() -> None:
    """A cluster that lists no broker, as after it stood still, is no usable cluster yet."""
    assert metadata_of(cast("AdminClient", LosingAdmin())).topics == {}
    with pytest.raises(NotSettled):
        metadata_of(cast("AdminClient", LosingAdmin(brokers=0)))

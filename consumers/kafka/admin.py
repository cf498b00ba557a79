"""Requests to the cluster: futures of the admin client awaited, and its errors translated, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # OffsetSpec is missing from its __all__
    AdminClient,
    OffsetSpec,
)

from schemas.catalog.errors import Unavailable

TIMEOUT_S: Final = 15.0
EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # it has no annotations
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
# A busy broker makes the logs of hundreds of new partitions in many seconds, and is the leader of none until then.
_SETTLED_WITHIN_S: Final = 45.0
_NONE_SO_LATE: Final = -1  # the answer to a question for a time that no record has reached
# A broker answers from its own copy of the metadata, which follows the controller's by some milliseconds.
_PASSING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)
# A client in which a fatal error has occurred (fenced, a gap) raises it as a bare KafkaError from poll, consume and
# flush, in place of its error_cb; `except Exception` does not catch that, as it has no base class.
CLIENT_ERRORS: Final[tuple[type[BaseException], ...]] = (KafkaError, KafkaException)  # type: ignore[assignment]
# What a request can raise whose errors are translated already, or not.
REQUEST_ERRORS: Final[tuple[type[BaseException], ...]] = (*CLIENT_ERRORS, Unavailable)
_T = TypeVar("_T")


def reason_of(error: BaseException) -> KafkaError:
    """Return the KafkaError in one of CLIENT_ERRORS."""
    found = error if isinstance(error, KafkaError) else error.args[0]
    assert isinstance(found, KafkaError)
    return found


def sentence_of(error: BaseException) -> str:
    """Return one of REQUEST_ERRORS as text."""
    return str(error) if isinstance(error, Unavailable) else str(reason_of(error))


class NotSettled(Unavailable):
    """The state of the cluster is changing: request again."""


def from_time(at_ms: int) -> Any:
    """Return the specification of the first record that is not older than a time in Unix ms."""
    return OffsetSpec.for_timestamp(at_ms)


def list_offsets(
    admin: AdminClient,
    partitions: Iterable[tuple[str, int]],
    spec: OffsetSpec,
    isolation: IsolationLevel,
    timeout_s: float = TIMEOUT_S,
) -> dict[tuple[str, int], Future[Any]]:
    """Request an offset of each partition; `offset_of` takes the results."""
    futures = admin.list_offsets(
        {TopicPartition(*key): spec for key in partitions}, isolation_level=isolation, request_timeout=timeout_s
    )
    return {(asked.topic, asked.partition): future for asked, future in futures.items()}


def offset_of(answer: Any) -> int:
    """Return the offset in a result of `list_offsets` (-1: no record is that young).

    A request that timed out looks like a response with the offset -1001 (seen with librdkafka 2.16), which would pass
    for the end of an empty log. KafkaException instead.
    """
    offset = int(answer.offset)
    if offset < _NONE_SO_LATE:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the broker does not say where a log begins or ends"))
    return offset


def offset_result(future: Future[Any], what: str) -> int:
    """Wait for an answer to `list_offsets`; errors as of `result`."""
    answer = result(future, what)
    try:
        return offset_of(answer)
    except KafkaException as error:
        raise failed(error, what) from error


def failed(error: BaseException, what: str) -> Unavailable:
    """Return the error to raise for one of CLIENT_ERRORS: NotSettled where asking again helps."""
    reason = reason_of(error)
    kind = NotSettled if reason.code() in _PASSING else Unavailable
    return kind(f"{what}: {reason.str()}")


def result(future: Future[_T], what: str) -> _T:
    """Wait for an answer; Unavailable (NotSettled where asking again helps) says that `what` failed, and why."""
    try:
        return future.result(timeout=TIMEOUT_S + 5)
    except KafkaException as error:
        raise failed(error, what) from error
    except TimeoutError as error:
        raise Unavailable(f"{what}: no answer in time") from error


def settled(ask: Callable[[], _T]) -> _T:
    """Ask until the cluster has settled, for at most 45 s."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while True:
        try:
            return ask()
        except NotSettled as error:
            if time.monotonic() > deadline:
                raise NotSettled(f"{error} (for {_SETTLED_WITHIN_S:g} s now: are the brokers very busy?)") from error
            time.sleep(0.05)

"""Requests to the cluster: wait for the futures of the admin client and translate its errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

from consumers.kafka.pending import Pending
from schemas.catalog.errors import NoResponse, Unavailable

TIMEOUT_S: Final = 15.0
EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # it has no annotations
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
# A busy broker takes many seconds to create the logs of hundreds of partitions, and leads none of them until then.
_SETTLED_WITHIN_S: Final = 45.0
_NO_RECORD: Final = -1  # the response if no record is that young
# Temporary errors: a broker responds from its own copy of the metadata, some milliseconds behind the controller.
_TEMPORARY: Final = frozenset(
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
# No broker is reachable, or none responds in time.
NO_RESPONSE: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
# After a fatal error (fenced, a gap) a client raises a bare KafkaError from poll, consume and flush instead of calling
# error_cb. `except Exception` does not catch it, as it is not an Exception.
CLIENT_ERRORS: Final[tuple[type[BaseException], ...]] = (KafkaError, KafkaException)  # type: ignore[assignment]  # as above
# Errors of a request, translated or not.
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
    """The state of the cluster is changing: repeat the request."""


def new_admin(kafka: Mapping[str, str]) -> AdminClient:
    """Return a further client of a process whose other clients log about their connections already."""
    return AdminClient({**kafka, "log_level": 0}, logger=logging.getLogger("signpost.kafka"))


def from_time(at_ms: int) -> Any:
    """Return the specification of the first record that is not older than a time in Unix ms."""
    return OffsetSpec.for_timestamp(at_ms)


def list_offsets(
    admin: AdminClient,
    partitions: Iterable[tuple[str, int]],
    spec: OffsetSpec,
    isolation: IsolationLevel,
    timeout_s: float = TIMEOUT_S,
) -> Pending[tuple[str, int], int]:
    """Request an offset of each partition (-1: no record is that young)."""
    futures = admin.list_offsets(
        {TopicPartition(*key): spec for key in partitions}, isolation_level=isolation, request_timeout=timeout_s
    )
    return Pending({(key.topic, key.partition): future for key, future in futures.items()}, _offset_of, timeout_s)


def count_partitions(admin: AdminClient, topics: Sequence[str], timeout_s: float = TIMEOUT_S) -> Pending[str, int]:
    """Request the number of partitions of each topic. The client refreshes its metadata as well."""
    futures = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)
    return Pending(futures, lambda described: len(described.partitions), timeout_s)


def metadata_of(admin: AdminClient, timeout_s: float = TIMEOUT_S) -> ClusterMetadata:
    """Return the brokers and topics of the cluster; NoResponse, or NotSettled if it lists no broker.

    A stalled broker is not listed until its controller has received a heartbeat.
    """
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise failed(error, "the brokers do not respond") from error
    if not metadata.brokers:
        raise NotSettled("the cluster lists no broker: have the brokers just started?")
    return metadata


def _offset_of(response: Any) -> int:
    """Return the offset in a result of `list_offsets`.

    KafkaException for any other negative offset than -1: librdkafka 2.16 reports a request that timed out as a response
    with the offset -1001, which looks like the end of an empty log.
    """
    offset = int(response.offset)
    if offset < _NO_RECORD:
        raise KafkaException(
            KafkaError(KafkaError._TIMED_OUT, "the broker did not return the offsets of a log in time")
        )
    return offset


def failed(error: BaseException, what: str) -> Unavailable:
    """Return the error to raise for one of CLIENT_ERRORS; NotSettled and NoResponse: a repeated request may succeed."""
    reason = reason_of(error)
    kind: type[Unavailable] = Unavailable
    if reason.code() in _TEMPORARY:
        kind = NotSettled
    elif reason.code() in NO_RESPONSE:
        kind = NoResponse
    return kind(f"{what}: {reason.str()}")


def result(future: Future[_T], what: str) -> _T:
    """Wait for a response, at most 20 s; the error names `what` failed, and is one of `failed`."""
    try:
        return future.result(timeout=TIMEOUT_S + 5)
    except KafkaException as error:
        raise failed(error, what) from error
    except TimeoutError as error:
        raise NoResponse(f"{what}: no response in time") from error


def settled(request: Callable[[], _T]) -> _T:
    """Repeat a request until the cluster has settled, for at most 45 s."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    while True:
        try:
            return request()
        except NotSettled as error:
            if time.monotonic() > deadline:
                raise NotSettled(f"{error} (for {_SETTLED_WITHIN_S:g} s: are the brokers overloaded?)") from error
            time.sleep(0.05)

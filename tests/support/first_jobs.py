"""Records of `jobs.0s` as the router writes them, for tests and benchmarks that run no router."""

from __future__ import annotations

from typing import Any, Protocol

from schemas.records.delivery import UNKNOWN_OFFSET, JobCodec, job_id


class SubscriptionRecord(Protocol):
    """A subscription and the position of its record."""

    @property
    def id(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def first_job(
    codec: JobCodec, one: SubscriptionRecord, source_topic: str, source_offset: int, **event: Any
) -> tuple[str, bytes]:
    """Return id and value of the job for an event at this offset; `event` has the further fields of its tail."""
    id_ = job_id(source_topic, 0, source_offset, one.id)
    tail = codec.tail(source_topic=source_topic, source_partition=0, source_offset=source_offset, **event)
    value = codec.encode(
        tail,
        job_id=id_,
        subscription_id=one.id,
        subscription_partition=one.partition,
        subscription_offset=one.offset,
        activation=1,
        run=0,
        attempt=1,
        due_at_ms=0,
        first_offset=UNKNOWN_OFFSET,
    )
    return id_, value

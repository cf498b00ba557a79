"""The record of a job, field by field as job.v1.avsc has them: what router and delivery do for each job.

Only what Signpost writes itself is read here; `IndexError` and `ValueError` mean that a general reader is to judge.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from schemas.avro_binary import long_bytes, read_longs, read_texts, text_bytes
from schemas.codec import PREFIX_LENGTH

HEAD_FIELDS: Final = 9
UNKNOWN_OFFSET: Final = -1
# Run 0, attempt 1, due at once, and no first offset but its own.
_FIRST: Final = b"".join(map(long_bytes, (0, 1, 0, UNKNOWN_OFFSET)))


def first_head(subscription_id: str, partition: int, offset: int, activation: int) -> bytes:
    """Encode what a job's first record says of its subscription and attempt, for `JobCodec.join`."""
    return b"".join((text_bytes(subscription_id), *map(long_bytes, (partition, offset, activation)), _FIRST))


@lru_cache(maxsize=1_024)
def kind_bytes(sender: str, event_type: str) -> bytes:
    """Encode sender and event type, which many records have in common."""
    return text_bytes(sender) + text_bytes(event_type)


@lru_cache(maxsize=256)
def source_bytes(topic: str, partition: int) -> bytes:
    """Encode source topic and partition, which many records have in common."""
    return text_bytes(topic) + long_bytes(partition)


def tail_position(value: bytes) -> int:
    """Return where in a job record the fields begin that all jobs of its event share."""
    _, position = read_texts(value, PREFIX_LENGTH, 2)
    return read_longs(value, position, HEAD_FIELDS - 2)[1]


def job_fields(value: bytes) -> tuple[Any, ...]:
    """Decode a job record: its fields in their order."""
    (id_, subscription_id), position = read_texts(value, PREFIX_LENGTH, 2)
    head, position = read_longs(value, position, HEAD_FIELDS - 2)
    texts, position = read_texts(value, position, 5)
    (source_partition, source_offset, appended_at_ms, size), position = read_longs(value, position, 4)
    if size < 0 or position + size != len(value):
        raise ValueError("the body does not end with the record")
    body = value[position:]
    return (id_, subscription_id, *head, *texts, source_partition, source_offset, appended_at_ms, body)

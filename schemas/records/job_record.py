"""Hand-written codec of job records, in the field order of job.v1.avsc: router and delivery use it for every job.

It reads only what Signpost itself writes. `IndexError` and `ValueError` mean: use the general Avro reader, which
accepts every valid record and reports what is wrong with the others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from schemas.avro.binary import long_bytes, read_longs, read_texts, text_bytes
from schemas.avro.codec import PREFIX_LENGTH

HEAD_FIELDS: Final = 9
UNKNOWN_OFFSET: Final = -1
_ID_AT: Final = PREFIX_LENGTH + 1
_SUBSCRIPTION_AT: Final = _ID_AT + 36
_UUID_LENGTH: Final = long_bytes(36)[0]
# The bytes of a varint: continuation bytes, and the last byte.
_LONG: Final = rb"[\x80-\xff]*+[\x00-\x7f]"
_HEAD_LONGS: Final = re.compile(b"(" + _LONG * 3 + b")(" + _LONG * 4 + b")").match
_TAIL_LONGS: Final = re.compile((b"(" + _LONG + b")") * 4).match
# `length & _OTHER` is 0 for a string whose length fits one byte. A positive length is an even zigzag number.
_OTHER: Final = 0x81
# Run 0, attempt 1, due at once, first offset unknown.
_FIRST: Final = b"".join(map(long_bytes, (0, 1, 0, UNKNOWN_OFFSET)))


def first_head(subscription_id: str, partition: int, offset: int, activation: int) -> bytes:
    """Encode the head of a job's first record: its subscription and attempt, for `JobCodec.join`."""
    return b"".join((text_bytes(subscription_id), *map(long_bytes, (partition, offset, activation)), _FIRST))


@lru_cache(maxsize=1_024)
def type_bytes(sender: str, event_type: str) -> bytes:
    """Encode sender and event type. Cached, because many records share them."""
    return text_bytes(sender) + text_bytes(event_type)


@lru_cache(maxsize=256)
def source_bytes(topic: str, partition: int) -> bytes:
    """Encode source topic and partition. Cached, because many records share them."""
    return text_bytes(topic) + long_bytes(partition)


def moved_record(value: bytes, run: int, attempt: int, due_at_ms: int, first_offset: int) -> bytes:
    """Return a job record with other numbers in the four fields before its tail; ValueError, IndexError: see above."""
    head = _head_longs(value)
    longs = map(long_bytes, (run, attempt, due_at_ms, first_offset))
    return b"".join((value[: head.end(1)], *longs, value[head.end() :]))


def job_fields(value: bytes) -> tuple[Any, ...]:
    """Decode a job record: its fields in their order.

    Caches keyed by the encoded bytes hold the parts that many records share.
    """
    head_end = _head_longs(value).end()
    event_type = head_end + 1 + (value[head_end] >> 1)
    event_id = event_type + 1 + (value[event_type] >> 1)
    customer = event_id + 1 + (value[event_id] >> 1)
    topic = customer + 1 + (value[customer] >> 1)
    partition = topic + 1 + (value[topic] >> 1)
    lengths = value[head_end] | value[event_type] | value[event_id] | value[customer] | value[topic]
    longs = _TAIL_LONGS(value, partition)
    if longs is None or lengths & _OTHER:
        raise ValueError("a string of 64 bytes or more, or not a job record")
    _, offset, appended_at_ms, size = longs.groups()
    body = value[longs.end() :]
    if len(body) != _long_of(size):
        raise ValueError("the body does not end with the record")
    return (
        value[_ID_AT:_SUBSCRIPTION_AT].decode(),
        *_head_of(value[_SUBSCRIPTION_AT:head_end]),
        *_type_of(value[head_end:event_id]),
        value[event_id + 1 : customer].decode(),
        value[customer + 1 : topic].decode(),
        *_source_of(value[topic : longs.end(1)]),
        read_longs(offset, 0, 1)[0][0],
        _long_of(appended_at_ms),
        body,
    )


def _head_longs(value: bytes) -> re.Match[bytes]:
    """Find the seven numbers of a head: three of the subscription record and four of the attempt."""
    size = value[_SUBSCRIPTION_AT]
    found = _HEAD_LONGS(value, _SUBSCRIPTION_AT + 1 + (size >> 1))
    if found is None or value[PREFIX_LENGTH] != _UUID_LENGTH or size & _OTHER:
        raise ValueError("a job id that is not a uuid, a subscription id of 64 bytes or more, or not a job record")
    return found


@lru_cache(maxsize=8_192)
def _head_of(record: bytes) -> tuple[Any, ...]:
    (subscription_id,), position = read_texts(record, 0, 1)
    return (subscription_id, *read_longs(record, position, HEAD_FIELDS - 2)[0])


@lru_cache(maxsize=1_024)
def _type_of(record: bytes) -> tuple[str, ...]:
    return tuple(read_texts(record, 0, 2)[0])


@lru_cache(maxsize=1_024)
def _source_of(record: bytes) -> tuple[str, int]:
    (topic,), position = read_texts(record, 0, 1)
    return topic, read_longs(record, position, 1)[0][0]


@lru_cache(maxsize=2_048)
def _long_of(record: bytes) -> int:
    return read_longs(record, 0, 1)[0][0]

"""Hand-written reader of outcome records, in the field order of outcome.v2.avsc: the ledger reads every outcome.

It reads only what Signpost itself writes. `IndexError` and `ValueError` mean: use the general Avro reader, which
accepts every valid record and reports what is wrong with the others.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from schemas.avro.binary import NULL, long_bytes, read_longs, read_texts
from schemas.avro.codec import PREFIX_LENGTH

STATES: Final = ("delivered", "retry", "dead", "cancelled")
_RUN_AT: Final = PREFIX_LENGTH + 1 + 36
_UUID_LENGTH: Final = long_bytes(36)[0]
# The bytes of a varint: continuation bytes, and the last byte.
_LONG: Final = rb"[\x80-\xff]*+[\x00-\x7f]"
# Start, duration, next due time, and the length of the response.
_TIMES: Final = re.compile(b"(%b)(%b)(\x00|\x02%b)(%b)" % (_LONG, _LONG, _LONG, _LONG)).match
# `length & _OTHER` is 0 for a string whose length fits one byte. A positive length is an even zigzag number.
_OTHER: Final = 0x81


def outcome_fields(value: bytes, *, is_first_version: bool) -> tuple[Any, ...]:
    """Decode an outcome record: its fields in the order of the newest version.

    Caches keyed by the encoded bytes hold the parts that many records share. They read their part to its end, and so
    notice a part that ends elsewhere.
    """
    customer = _RUN_AT + 2 + (value[_RUN_AT + 1] >> 1)
    sender = customer + 1 + (value[customer] >> 1)
    event_type = sender + 1 + (value[sender] >> 1)
    event_id = event_type + 1 + (value[event_type] >> 1)
    attempt = event_id + 1 + (value[event_id] >> 1)
    status = attempt + 3 + (value[attempt + 2] >> 1)
    error = status + (3 if value[status] else 1)
    host = error + (2 + (value[error + 1] >> 1) if value[error] else 1)
    times = _TIMES(value, host + 1 + (value[host] >> 1))
    lengths = value[event_id] | value[host]
    if times is None or lengths & _OTHER or value[PREFIX_LENGTH] != _UUID_LENGTH:
        raise ValueError("a string of 64 bytes or more, a job id that is not a uuid, or not an outcome record")
    at_ms, duration_us, next_due_at_ms, size = times.groups()
    response = times.end()
    body_cut = response + _long_of(size)
    if body_cut < response or value[body_cut] > 1:
        raise ValueError("a negative length, or not a boolean")
    (partition, first_offset), topic = read_longs(value, body_cut + 1, 2)
    (source_topic,), source = read_texts(value, topic, 1)
    (source_partition, source_offset), end = read_longs(value, source, 2)
    return (
        value[PREFIX_LENGTH + 1 : _RUN_AT].decode(),
        *_job_of(value[_RUN_AT:event_id]),
        value[event_id + 1 : attempt].decode(),
        *_result_of(value[attempt:host]),
        value[host + 1 : times.start()].decode(),
        _long_of(at_ms),
        read_longs(duration_us, 0, 1)[0][0],
        None if next_due_at_ms == NULL else _long_of(next_due_at_ms[1:]),
        value[response:body_cut],
        value[body_cut] == 1,
        partition,
        first_offset,
        source_topic,
        source_partition,
        source_offset,
        *_last_of(value[end:], is_first_version),
    )


@lru_cache(maxsize=8_192)
def _job_of(part: bytes) -> tuple[Any, ...]:
    """Decode run, subscription id, customer id, sender and event type."""
    (run,), position = read_longs(part, 0, 1)
    texts, position = read_texts(part, position, 4)
    _expect_end(part, position)
    return (run, *texts)


@lru_cache(maxsize=1_024)
def _result_of(part: bytes) -> tuple[Any, ...]:
    """Decode attempt, state, reason, status and error."""
    (attempt, state), position = read_longs(part, 0, 2)
    (reason,), position = read_texts(part, position, 1)
    (branch,), position = read_longs(part, position, 1)
    status, error = None, None
    if branch == 1:
        (status,), position = read_longs(part, position, 1)
    (other_branch,), position = read_longs(part, position, 1)
    if other_branch == 1:
        (error,), position = read_texts(part, position, 1)
    _expect_end(part, position)
    if not (0 <= branch <= 1 and 0 <= other_branch <= 1 and 0 <= state < len(STATES)):
        raise ValueError("not an outcome record")
    return attempt, STATES[state], reason, status, error


@lru_cache(maxsize=2_048)
def _last_of(part: bytes, is_first_version: bool) -> tuple[int, int]:  # a key of the cache
    """Decode the time at which the event was appended, and the bytes of the response that were not kept."""
    longs, position = read_longs(part, 0, 1 if is_first_version else 2)
    _expect_end(part, position)
    return longs[0], 0 if is_first_version else longs[1]


@lru_cache(maxsize=2_048)
def _long_of(record: bytes) -> int:
    return read_longs(record, 0, 1)[0][0]


def _expect_end(part: bytes, position: int) -> None:
    if position != len(part):
        raise ValueError("a part of the record ends elsewhere")

"""Unreadable records as dead letters: the reason, the original bytes, and the source. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from consumers.kafka.record_headers import headers_of
from schemas.records.delivery import DeadLetter, DeadLetterCodec

# A library's message may quote the bytes that it could not read.
MAX_DETAIL: Final = 1_000
_CODEC: Final = DeadLetterCodec()

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
KeyAndValue: TypeAlias = tuple[bytes | None, bytes]


class SourceRecord(Protocol):
    """A record that a role has read; confluent_kafka.Message implements it."""

    def topic(self) -> str: ...  # noqa: D102  # the names of this protocol are Kafka's own
    def partition(self) -> int: ...  # noqa: D102  # as above
    def offset(self) -> int: ...  # noqa: D102  # as above
    def key(self) -> bytes | None: ...  # noqa: D102  # as above
    def value(self) -> bytes | None: ...  # noqa: D102  # as above
    def headers(self) -> Headers | None: ...  # noqa: D102  # as above
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102  # as above


def dead_letter(record: SourceRecord, reason: str, detail: str, now_ms: int, max_record: int) -> KeyAndValue:
    """Return key and value of the dead letter of a record, with the record's bytes.

    The topic of dead letters cannot take a record over `max_record` bytes. Its dead letter has the source without the
    bytes, which stay readable there.
    """
    key, value, headers = record.key(), record.value(), headers_of(record)
    if len(key or b"") + len(value or b"") + _size(headers) > max_record:
        key, value, headers = None, None, ()
    letter = DeadLetter(
        reason=reason,
        detail=detail[:MAX_DETAIL],
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        at_ms=now_ms,
        key=key,
        value=value,
        headers=headers,
    )
    return key, _CODEC.encode(letter)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value or b"") for name, value in headers)

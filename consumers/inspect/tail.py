"""Records of one topic, as lines or as JSON, optionally only those that contain a text."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from importlib import resources
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumers.inspect.readable import RecordReader, cut_hex, line, text_of, time_text
from consumers.inspect.scan import GROUP, Scanner, newest, time_of
from consumers.kafka.positions import is_lost_broker
from consumers.kafka.topic_reader import Range, place_of
from schemas.avro.codec import PREFIX_LENGTH, RecordCodec
from schemas.catalog.errors import Unavailable
from schemas.input.terminal import printable
from schemas.records.delivery import event_id
from schemas.senders.sender import Sender
from schemas.settings.kafka_properties import whole_topic_config

_BATCH: Final = 5_000
_CUT: Final = 600
# Text of only these characters is equal in the bytes of a record and in its line, unless the line adds it.
_WORD: Final = re.compile(r"[A-Za-z0-9_@-]+")
_NUMERIC: Final = re.compile(r"[0-9a-fTZ-]*")
# The derived id of an event without an id.
_DERIVED_ID: Final = re.compile(r"e?v?t?_?[0-9a-f-]*")
_DEAD_LETTER: Final = RecordCodec("dead_letter").prefix
_ADDED: Final = (
    "true false null None True False job outcome dead_letter subscription event test_delivery text bytes tombstone ***"
)


class Tail:
    """Shows records; with `grep`, only those whose line contains it, and those at `places`."""

    def __init__(
        self,
        reader: RecordReader,
        senders: Mapping[str, Sender],
        grep: str | None,
        places: Collection[tuple[str, int, int]] = (),
    ) -> None:
        self._reader = reader
        self._grep = grep
        self._places = places
        self._needle = _needle(grep, senders)
        self._may_be_derived = _DERIVED_ID.fullmatch(grep or "") is not None

    def accepts(self, message: Message) -> bool:
        """Return whether the line of a record contains the text."""
        if self._grep is None or place_of(message) in self._places:
            return True
        value = message.value() or b""
        if (
            self._needle is not None
            and not (
                self._needle in value
                or self._needle in (message.key() or b"")
                or (self._may_be_derived and self._grep in event_id(*place_of(message)))
                # A dead letter may have an event without an id, whose derived id is in the line.
                or (self._may_be_derived and value[:PREFIX_LENGTH] == _DEAD_LETTER)
            )
        ):
            return False
        return self._grep in self._line(message)

    def line(self, message: Message) -> str:
        """Return a record as one line: time, place, key, kind and fields; very long lines are cut."""
        text = self._line(message)
        return text if len(text) <= _CUT else f"{text[:_CUT]}… ({len(text) - _CUT:,} more characters; --json shows all)"

    def fields(self, message: Message) -> dict[str, Any]:
        """Return a record as JSON fields."""
        topic, partition, offset = place_of(message)
        readable = self._reader.read(message.value(), place_of(message))
        place = {"topic": topic, "partition": partition, "offset": offset, "time": time_text(time_of(message))}
        return {**place, "key": text_of(message.key()), "kind": readable.kind, "value": readable.fields}

    def _line(self, message: Message) -> str:
        _, partition, offset = place_of(message)
        readable = self._reader.read(message.value(), place_of(message))
        key = printable(text_of(message.key()) or "-")
        shown = line(cut_hex(readable.fields))
        return f"{time_text(time_of(message))} {partition}:{offset} {key} {readable.kind} {shown}".rstrip()


def records(scanner: Scanner, ranges: list[Range], tail: Tail, limit: int | None) -> Iterator[list[Message]]:
    """Yield the existing records: the newest `limit` ordered by time, or all (None) batch by batch."""
    if limit is not None:
        yield newest(scanner, ranges, limit, tail.accepts)
        return
    for batch in scanner.read(ranges):
        yield sorted(filter(tail.accepts, batch), key=lambda message: (time_of(message), place_of(message)))


def follow(
    kafka: Mapping[str, str], ranges: list[Range], accepts: Callable[[Message], bool]
) -> Generator[Message | None]:
    """Yield records after these ranges, without end; None at least every half second."""
    own = {"auto.offset.reset": "earliest", "enable.partition.eof": False}
    config = whole_topic_config(kafka, GROUP, tuning={"fetch.wait.max.ms": 50}, own=own)
    consumer = Consumer(config, logger=logging.getLogger("signpost.kafka"))
    try:
        consumer.assign([TopicPartition(r.topic, r.partition, r.end) for r in ranges])
        while True:
            first = consumer.poll(0.5)
            if first is None:
                yield None
                continue
            for message in (first, *consumer.consume(_BATCH, 0)):
                error = message.error()
                if error is None:
                    if accepts(message):
                        yield message
                elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise Unavailable(f"the topic {ranges[0].topic} no longer exists")
                elif not is_lost_broker(error):  # otherwise wait for the broker
                    raise Unavailable(f"{ranges[0].topic} cannot be read: {error.str()}")
    finally:
        consumer.close()


def _needle(grep: str | None, senders: Mapping[str, Sender]) -> bytes | None:
    """Return the bytes that every record with the text in its line contains; None if there are none.

    Comparing bytes is a hundred times faster than decoding. Numbers and times are encoded differently in the bytes, and
    names of fields and states are not in them.
    """
    if grep is None or not _WORD.fullmatch(grep) or _NUMERIC.fullmatch(grep) or grep in _vocabulary(senders):
        return None
    return grep.encode()


def _vocabulary(senders: Mapping[str, Sender]) -> str:
    """Return all text that a line may contain and the bytes of its record do not."""
    records = (resources.files("schemas") / "records").iterdir()
    own = [file.read_text(encoding="utf-8") for file in records if file.name.endswith(".avsc")]
    events = [json.dumps(event_type.schema) for sender in senders.values() for event_type in sender.all_types]
    names = [name for sender in senders for name in (sender, *senders[sender].event_types)]
    labels = "source first header_id next_due duration_ms appended_at created_at updated_at why hex size"
    return " ".join([_ADDED, labels, *own, *events, *names])

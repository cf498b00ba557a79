"""Unreadable records in delay topics: each becomes a dead letter with bytes and source, and none stops delivery."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from schemas.avro.codec import single_object_prefix
from schemas.catalog.errors import UNREADABLE_REASONS
from schemas.records.delivery import DeadLetter, Job, JobCodec
from tests.support.pipeline import Pipeline
from tests.support.roles import RoleStarter
from tests.support.topics import Headers, end_offsets, produce
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

HEADERS: Headers = [("trace", b"\xff\x00"), ("none", None)]
_CODEC = JobCodec()


def job_value(subscription_id: str = "sub-0", body: bytes = b"{}", event_id: str = "evt_forged") -> bytes:
    """Encode a job as the router does."""
    tail = _CODEC.tail(
        sender="zenoo",
        event_type="case.created",
        event_id=event_id,
        customer_id="acme",
        source_topic="events",
        source_partition=0,
        source_offset=0,
        appended_at_ms=0,
        body=body,
    )
    head = {"subscription_partition": 0, "subscription_offset": -1, "activation": 2**62, "run": 0, "attempt": 1}
    return _CODEC.encode(tail, job_id="job", subscription_id=subscription_id, due_at_ms=0, first_offset=-1, **head)


GOOD = job_value()
PREFIX = GOOD[:10]
OTHER_RECORD = single_object_prefix({"type": "record", "name": "Other", "fields": []})
UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "tombstone": (None, "empty"),
    "empty": (b"", "empty"),
    "text": (b'{"job_id": "1"}', "unknown_format"),
    "random bytes": (random.Random(1).randbytes(300), "unknown_format"),
    "Confluent's format": (b"\x00\x00\x00\x00\x07" + GOOD[10:], "unknown_format"),
    "half a prefix": (PREFIX[:6], "truncated"),
    "half a record": (GOOD[: len(GOOD) // 2], "truncated"),
    "another record": (OTHER_RECORD + GOOD[10:], "unknown_schema"),
    "trailing bytes": (GOOD + b"\x00", "trailing_bytes"),
    "text that is not UTF-8": (GOOD.replace(b"evt_forged", b"evt_\xff\xfe\xfd\xfc\xfb\xfa"), "invalid_value"),
    "a length below zero": (PREFIX + b"\x01" + GOOD[11:], "truncated"),
    "a length of many gigabytes": (PREFIX + b"\xfe\xff\xff\xff\xff\xff\xff\x7f" + GOOD[11:], "truncated"),
}


def wait_committed(pipeline: Pipeline, topic: str) -> None:
    """Wait until delivery has committed a topic to its end."""
    group = f"{pipeline.names.prefix}deliver"

    def committed() -> bool:
        ends = {number: end for number, end in end_offsets(pipeline.bootstrap_servers, topic).items() if end}
        asked = [TopicPartition(topic, number) for number in ends]
        answer = pipeline.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group]
        found = {place.partition: place.offset for place in answer.result(30).topic_partitions}
        assert found == ends, f"at {found}, the ends are {ends}"
        return True

    wait_until(committed, what=f"{topic} is committed")


def letters_of(pipeline: Pipeline, count: int) -> list[DeadLetter]:
    """Wait for this number of dead letters and return them."""

    def arrived() -> list[DeadLetter]:
        letters = pipeline.dead_letters()
        assert len(letters) >= count, f"{len(letters)} of {count} dead letters"
        return letters

    return wait_until(arrived, what=f"{count} dead letters")


@pytest.mark.parametrize("delay_topic", ["0s", "1m"])
def test_unreadable_record_is_dead_with_its_bytes_and_stops_nothing(
    pipeline: Pipeline, receiver: Receiver, delay_topic: str
) -> None:
    """Twelve kinds between good jobs: each is one dead letter, its offset is committed, and the good jobs are sent."""
    pipeline.subscribe(receiver.url)
    topic = f"{pipeline.names.prefix}jobs.{delay_topic}"
    for name, (value, _) in UNREADABLE.items():
        produce(pipeline.bootstrap_servers, topic, value, name.encode(), partition=1, headers=HEADERS)
        produce(pipeline.bootstrap_servers, topic, job_value(event_id=f"evt_{name.split()[0]}"), b"sub-0", partition=1)
    deliver = pipeline.deliver(delay_speedup=60)

    letters = {(letter.key or b"").decode(): letter for letter in letters_of(pipeline, len(UNREADABLE))}
    pipeline.wait_for_ends(1)
    receiver.wait_for(len(UNREADABLE))
    wait_committed(pipeline, topic)

    assert deliver.log_text().count('"record.dead_lettered"') == len(UNREADABLE)
    assert {name: letter.reason for name, letter in letters.items()} == {
        name: reason for name, (_, reason) in UNREADABLE.items()
    }
    for number, (name, (value, _)) in enumerate(UNREADABLE.items()):
        letter = letters[name]
        assert (letter.topic, letter.partition, letter.offset) == (topic, 1, 2 * number)
        assert letter.value == value
        assert letter.headers == tuple(HEADERS)
        assert letter.detail
        assert letter.at_ms > 0
    reasons = Counter(reason for _, reason in UNREADABLE.values())
    assert {name: deliver.metric("signpost_unreadable_records_total", reason=name) for name in reasons} == reasons
    assert reasons.keys() <= UNREADABLE_REASONS
    assert deliver.terminate() == 0
    assert len(pipeline.dead_letters()) == len(UNREADABLE), "one for each record, not one for each read"


def test_record_too_large_for_the_dead_letter_topic_is_described(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver
) -> None:
    """An unreadable record of maximum size, and a dead job of that size, keep their source but not their bytes."""
    pipeline = Pipeline(broker.bootstrap_servers, prefix, start_role, max_event=64 * 1024, max_body=1024)
    pipeline.subscribe(receiver.url, receiver.url)
    receiver.behave = always(CannedResponse(410))
    topic = f"{prefix}jobs.0s"
    noise = random.Random(2).randbytes(127 * 1024)
    produce(pipeline.bootstrap_servers, topic, noise, b"key", partition=0)
    produce(pipeline.bootstrap_servers, topic, job_value(body=noise), b"sub-0", partition=0)
    produce(pipeline.bootstrap_servers, topic, job_value("sub-1"), b"sub-1", partition=0)
    deliver = pipeline.deliver()
    letters = letters_of(pipeline, 3)
    wait_committed(pipeline, topic)

    assert [(letter.reason, letter.offset, letter.value) for letter in sorted(letters, key=lambda one: one.offset)] == [
        ("unknown_format", 0, None),
        ("gone", 1, None),
        ("gone", 2, job_value("sub-1")),
    ]
    assert deliver.terminate() == 0


def test_dead_letter_of_a_job_can_be_decoded(pipeline: Pipeline, receiver: Receiver) -> None:
    """The dead letter of a job holds the bytes of its record, from which the job can be sent again."""
    receiver.behave = always(CannedResponse(410))
    pipeline.subscribe(receiver.url)
    produce(pipeline.bootstrap_servers, f"{pipeline.names.prefix}jobs.0s", GOOD, b"sub-0", partition=0)
    pipeline.deliver()
    (letter,) = letters_of(pipeline, 1)

    job: Job = _CODEC.decode(letter.value)
    assert (job.subscription_id, job.event_id, job.body) == ("sub-0", "evt_forged", b"{}")
    assert (letter.subscription_id, letter.job_id, letter.attempts) == ("sub-0", "job", 1)

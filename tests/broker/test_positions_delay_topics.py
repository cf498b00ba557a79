"""Positions of delay topics: lost, truncated by retention, or of a new delay topic."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.kafka.group_member import SESSION_TIMEOUT_MS, member_config
from consumers.kafka.topics import delivery_group
from deploy.cli.main import main
from deploy.config.wanted_topics import wanted_topics
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, fail_first
from schemas.records.health import decode_operation
from schemas.records.topics import FIRST
from tests.support.pipeline import Pipeline, ends_of
from tests.support.topics import create_topic, end_offsets, produce
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

DAY = timedelta(days=1)


def jobs_of(pipeline: Pipeline, receiver: Receiver, count: int) -> int:
    """Let a router create jobs of one subscription, and return their partition."""
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(count)
    router = pipeline.router()
    wait_until(lambda: len(pipeline.jobs()) == count, what="the jobs are there")
    assert router.terminate() == 0
    return pipeline.job_places()[0][1]


def delete_before(pipeline: Pipeline, topic: str, partition: int, offset: int) -> None:
    """Delete the first records of a partition, as retention does."""
    (future,) = pipeline.admin.delete_records([TopicPartition(topic, partition, offset)]).values()
    future.result(30)


def test_lost_positions_of_jobs_stop_delivery_until_they_are_set(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery exits with an error and sends nothing. The command that the error names repairs it."""
    for other in {0, 1, 2} - {jobs_of(pipeline, receiver, 3)}:
        produce(pipeline.bootstrap_servers, pipeline.names.jobs(FIRST), b"nobody can read this", partition=other)
    group = delivery_group(pipeline.names)
    pipeline.admin.delete_consumer_groups([group])[group].result(30)
    role = pipeline.start("deliver", "--instance", "0", ready=False)

    assert role.wait() == 1
    command = f"signpost positions set '{pipeline.names.prefix}jobs.*' --to"
    assert re.search(rf"jobs\.0s has no position in partitions 0, 1, 2: .*`{re.escape(command)}", role.log_text())
    assert len(receiver.requests) == 0
    for name, value in pipeline.env().items():
        monkeypatch.setenv(name, value)

    def is_set() -> bool:
        with pytest.raises(SystemExit) as ended:
            main(["positions", "set", f"{pipeline.names.prefix}jobs.*", "--to", "earliest", "--yes"])
        return not ended.value.code

    wait_until(is_set, what="the group has forgotten the static member")
    pipeline.deliver()
    assert set(ends_of(pipeline.wait_for_ends(3)).values()) == {1}


def test_new_jobs_truncated_by_retention_are_reported_as_a_range(pipeline: Pipeline, receiver: Receiver) -> None:
    """Jobs deleted before delivery read them are counted, logged and reported as a range. The rest is delivered."""
    partition = jobs_of(pipeline, receiver, 5)
    topic = pipeline.names.jobs(FIRST)
    delete_before(pipeline, topic, partition, 3)

    role = pipeline.deliver()

    assert len(ends_of(pipeline.wait_for_ends(2))) == 2
    assert role.metric("signpost_delivery_truncated_records_total") == 3
    line = next(line for line in role.log_text().splitlines() if '"partition.truncated"' in line)
    for part in (f'"topic":"{topic}"', f'"partition":{partition}', '"lost_from":0', '"lost_to":2', '"count":3'):
        assert part in line.replace(": ", ":"), line
    operations = [decode_operation(message.value()) for message in pipeline.read(pipeline.names.operations)]
    (operation,) = (one for one in operations if one.actor is None)
    assert (operation.kind, operation.topic, operation.partition) == ("partition_truncated", topic, partition)
    assert (operation.from_offset, operation.to_offset) == (0, 2)


def test_waiting_jobs_truncated_by_retention_are_reported(pipeline: Pipeline, receiver: Receiver) -> None:
    """A running process reports a waiting job that retention deletes, and sends the next one when it is due."""
    receiver.behave = fail_first(1, CannedResponse(503), CannedResponse())
    partition = jobs_of(pipeline, receiver, 2)
    waiting = f"{pipeline.names.prefix}jobs.1m"
    role = pipeline.deliver(delay_speedup=10)
    wait_until(lambda: len(pipeline.read(waiting)) == 2, what="both wait for their second attempt")
    delete_before(pipeline, waiting, partition, 1)

    assert len(ends_of(pipeline.wait_for_ends(1))) == 1
    wait_until(lambda: role.metric("signpost_delivery_truncated_records_total") == 1, what="the lost one is counted")
    assert role.log_text().count('"partition.truncated"') == 1


def test_delay_topic_created_while_delivery_runs_is_read(pipeline: Pipeline, receiver: Receiver) -> None:
    """A running process reads a new delay topic from its beginning, and sends its jobs when they are due."""
    partition = jobs_of(pipeline, receiver, 1)
    pipeline.deliver(delay_speedup=10, kafka_topic_metadata_refresh_interval_ms="500")
    pipeline.wait_for_ends(1)
    (job,) = pipeline.read(pipeline.names.jobs(FIRST))
    newer = f"{pipeline.names.prefix}jobs.25s"
    create_topic(pipeline.bootstrap_servers, newer, 3, message_timestamp_type="LogAppendTime")
    wait_until(lambda: len(end_offsets(pipeline.bootstrap_servers, newer)) == 3, what="the delay topic is there")
    produced_at_s = time.monotonic()
    produce(pipeline.bootstrap_servers, newer, job.value(), job.key(), partition=partition)

    wait_until(lambda: len(receiver.requests) == 2, what="the job of the new delay topic is sent")

    assert time.monotonic() - produced_at_s >= 2


@pytest.mark.parametrize("delay", [DAY, timedelta(hours=23)], ids=["of a sender", "of a newer version"])
def test_delay_topic_created_during_a_restart_is_read(pipeline: Pipeline, receiver: Receiver, delay: timedelta) -> None:
    """A static member that returns gets its previous partitions only. It notices the missing ones and joins again."""
    partition = jobs_of(pipeline, receiver, 1)
    (job,) = pipeline.read(pipeline.names.jobs(FIRST))
    newer = pipeline.names.jobs(delay)
    if delay != DAY:  # no loaded sender has this delay
        create_topic(pipeline.bootstrap_servers, newer, 3, message_timestamp_type="LogAppendTime")
        wait_until(lambda: len(end_offsets(pipeline.bootstrap_servers, newer)) == 3, what="the delay topic is there")
    produce(pipeline.bootstrap_servers, newer, job.value(), job.key(), partition=partition)
    older = Consumer(
        member_config(pipeline.settings.kafka_properties(), delivery_group(pipeline.names), 0) | {"log_level": 0}
    )
    assigned: list[TopicPartition] = []
    delay_topics = [topic.name for topic in wanted_topics(pipeline.settings) if ".jobs." in topic.name]
    topics = [topic for topic in delay_topics if topic != newer]
    older.subscribe(topics, on_assign=lambda _, partitions: assigned.extend(partitions))
    wait_until(lambda: older.poll(0.05) is None and bool(assigned), what="the older version has its partitions")
    older.close()
    closed_s = time.monotonic()

    role = pipeline.deliver(delay_speedup=86_400)
    returns_in_time = time.monotonic() - closed_s < SESSION_TIMEOUT_MS / 1_000

    wait_until(lambda: len(receiver.requests) == 2, what="the job of the new delay topic is sent")
    # A member that returns after the session timeout is a new one and gets all partitions.
    assert role.log_text().count('"partitions.unassigned"') == 1 or not returns_in_time

"""`signpost lag`: waiting records of sources and delay topics, their age, and the processes that read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumers.delivery.partitions.progress import Position, Progress
from consumers.inspect import lag
from consumers.inspect.lag import spans
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from schemas.records.topics import delays_of
from schemas.senders.sender import load_senders
from tests.support.installation import Installation, event, value_of
from tests.support.pipeline import Pipeline
from tests.support.tools import Commands, job, job_value
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix, partitions=1).make_topics()


def commit(here: Installation, role: str, topic: str, position: Position) -> None:
    """Commit a position of a role on partition 0 of a topic."""
    group = f"{here.settings.prefix}{role}"
    consumer = Consumer({"bootstrap.servers": here.bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    partition = TopicPartition(topic, 0, position.offset, metadata=position.metadata)
    consumer.commit(offsets=[partition], asynchronous=False)
    consumer.close()


def lags(signpost: Commands) -> dict[str, dict[str, Any]]:
    """Return the output of the command, by topic."""
    result = signpost("lag", "--json")
    assert result.code == 0, result.err
    return {one["topic"]: one for one in json.loads(result.out)["topics"]}


def waiting_by_positions(signpost: Commands) -> dict[str, int]:
    """Return what waits in each topic of one partition, as `positions list` shows it."""
    result = signpost("positions", "list", "--json")
    assert result.code == 0, result.err
    return {one["topic"]: one["waiting"] for one in json.loads(result.out)["positions"]}


def test_lag_counts_waiting_records(here: Installation, signpost: Commands) -> None:
    """A source shows how many events wait and when the oldest arrived, a delay topic when its oldest job is due."""
    here.publish(event(f"evt_{number}") for number in range(5))
    commit(here, "router", here.events_topic, Position(2, ""))
    delay_topic = f"{here.names.prefix}jobs.5m"
    here.produce(delay_topic, job_value(job(1, due_at_ms=4_000_000_000_000)), b"sub-1")
    found = lags(signpost)
    assert found[here.events_topic]["waiting"] == 3
    assert found[delay_topic]["waiting"] == 1
    assert found[delay_topic]["oldest_due"] == "2096-10-02T07:06:40.000Z"
    assert found[f"{here.names.prefix}jobs.0s"]["waiting"] == 0
    text = signpost("lag").out
    assert " ago)" in text
    assert "(in " in text


def test_records_finished_beyond_the_position_do_not_count(here: Installation, signpost: Commands) -> None:
    """Of ten jobs, three read ones are unfinished and one is unread: four wait."""
    topic = f"{here.names.prefix}jobs.0s"
    for number in range(10):
        here.produce(topic, job_value(job(number)), b"sub-1")
    progress = Progress(Position(0, ""))
    for offset in range(9):
        progress.read(offset)
    for offset in (1, 2, 3, 5, 6, 8):
        progress.finish(offset)
    commit(here, "deliver", topic, progress.position("0.1"))
    assert lags(signpost)[topic]["waiting"] == 4


def test_transaction_markers_do_not_count(here: Installation, signpost: Commands) -> None:
    """Only records are counted in a log that ends with transaction markers."""
    delay_topic = f"{here.names.prefix}jobs.5m"
    producer = Producer(
        {"bootstrap.servers": here.bootstrap_servers, "transactional.id": f"{here.names.prefix}test", "log_level": 0}
    )
    producer.init_transactions(30)
    for number in range(3):
        producer.begin_transaction()
        producer.produce(delay_topic, job_value(job(number)), b"sub-1")
        producer.commit_transaction(30)
    wait_until(
        lambda: end_offsets(here.bootstrap_servers, delay_topic) == {0: 6}, what="three records and three markers"
    )
    assert lags(signpost)[delay_topic]["waiting"] == 3
    commit(here, "deliver", delay_topic, Position(0, ""))
    assert waiting_by_positions(signpost)[delay_topic] == 3
    commit(here, "deliver", delay_topic, Position(5, ""))
    found = lags(signpost)[delay_topic]
    assert (found["waiting"], found["exact"], found["oldest_due"]) == (0, True, None)
    assert waiting_by_positions(signpost)[delay_topic] == 0


def test_very_many_records_show_an_upper_bound(
    here: Installation, signpost: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the counting limit the number of offsets is shown as an upper bound."""
    monkeypatch.setattr(lag, "BUDGET", 1)
    here.publish(event(f"evt_{number}") for number in range(1_500))
    commit(here, "router", here.events_topic, Position(0, ""))
    found = lags(signpost)[here.events_topic]
    assert (found["waiting"], found["exact"]) == (1_500, False)
    assert "≤ 1,500" in signpost("lag").out


def test_lag_shows_the_members_of_groups(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process is shown with instance and partitions. Partitions without a process are shown as not read."""
    signpost = Commands(pipeline.env(), monkeypatch)
    assert f"no process reads partitions 0-2 of {pipeline.events_topic}" in signpost("lag").out
    pipeline.subscribe(receiver.url)
    pipeline.router()
    pipeline.deliver()
    pipeline.publish_some(1)
    pipeline.wait_for_ends(1)
    router, deliver = json.loads(signpost("lag", "--json").out)["groups"]
    assert [member["instance"] for member in (*router["members"], *deliver["members"])] == ["0", "0"]
    assert router["members"][0]["partitions"] == {pipeline.events_topic: [0, 1, 2]}
    assert deliver["members"][0]["partitions"][f"{pipeline.names.prefix}jobs.5m"] == [0, 1, 2]
    assert (router["unowned"], deliver["unowned"]) == ({}, {})
    text = signpost("lag").out
    assert "deliver: 1 process, stable" in text
    delay_topics = delays_of(sender.schedule for sender in load_senders().values())
    assert f"0-2 of {len(delay_topics)} topics" in text


def test_each_partition_has_its_row(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--each` shows for every partition what waits, since when, and which process reads it; --json has the same."""
    here = Installation(broker.bootstrap_servers, prefix, partitions=2).make_topics()
    signpost = Commands(here.env, monkeypatch)
    here.produce(here.events_topic, value_of(event("evt_1")), b"k", partition=1)
    commit(here, "router", here.events_topic, Position(0, ""))
    result = signpost("lag", "--each", "--json")
    topic = next(one for one in json.loads(result.out)["topics"] if one["topic"] == here.events_topic)
    assert [(one["partition"], one["waiting"]) for one in topic["each"]] == [(0, 0), (1, None)]
    assert (topic["waiting"], topic["without_position"]) == (0, 1)
    assert "each" not in lags(signpost)[here.events_topic]
    assert "no process; no position" in signpost("lag", "--each").out
    with here.router() as router:
        router.wait_ready()
        here.wait_routed()
        here.produce(f"{here.names.prefix}jobs.5m", job_value(job(1)), b"sub-1", partition=1)
        lines = [line.split() for line in signpost("lag", "--each").out.splitlines() if line.startswith(prefix)]
        rows = {(line[0], line[1]): line for line in lines if len(line) > 2}
    assert rows[here.events_topic, "1"][2] == "0"
    assert "no process" not in " ".join(rows[here.events_topic, "1"])
    assert rows[f"{prefix}jobs.0s", "1"][2:] == ["0", "no", "process"]
    assert rows[f"{prefix}jobs.5m", "1"][2] == "1"


def test_empty_and_missing_topics_get_a_sentence(
    here: Installation, signpost: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty topics have no waiting records. A source without a position and missing topics are named."""
    found = lags(signpost)
    assert found[here.events_topic]["waiting"] is None
    assert all(one["waiting"] == 0 for topic, one in found.items() if topic != here.events_topic)
    assert "no position is committed" in signpost("lag").out
    monkeypatch.setenv("SIGNPOST_SOURCES", json.dumps([{"topic": f"{here.names.prefix}none", "sender": "zenoo"}]))
    assert f"missing: {here.names.prefix}none" in signpost("lag").err
    monkeypatch.setenv("SIGNPOST_PREFIX", f"{here.names.prefix}elsewhere.")
    result = signpost("lag")
    assert result.code == 1
    assert "topics apply" in result.err


def test_partitions_are_shown_as_spans() -> None:
    """Neighbouring partitions are shown as a span."""
    assert spans([3, 0, 1, 2, 7, 9, 10]) == "0-3,7,9-10"
    assert spans([]) == ""

"""`signpost positions`: list, set, and refusals."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from consumers.kafka.topics import delivery_group, router_group
from deploy.cli.main import main
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from schemas.records.topics import DEFERRAL_DELAY, FIRST, delays_of
from schemas.senders.sender import load_senders
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.topics import read_topic


class Here(Installation):
    """An installation, and the command with its settings."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> tuple[object, str, str]:
        """Run `signpost positions …`: exit code, output, errors."""
        self.capsys.readouterr()
        self.monkeypatch.setattr("sys.stdin", io.StringIO(""))
        with pytest.raises(SystemExit) as ended:
            main(["positions", *arguments])
        printed = self.capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    def deliver_positions(self, topic: str) -> dict[int, int]:
        group = delivery_group(self.names)
        asked = [TopicPartition(topic, n) for n in range(3)]
        future = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group]
        return {p.partition: p.offset for p in future.result(30).topic_partitions if p.offset >= 0}

    def lose_positions(self, group: str) -> None:
        self.admin.delete_consumer_groups([group])[group].result(30)

    def one_event_each(self) -> None:
        for partition in range(3):
            self.produce(self.events_topic, value_of(event(f"evt_{partition}")), partition=partition)


@pytest.fixture
def here(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    here = Here(broker.bootstrap_servers, prefix)
    here.make_topics()
    here.capsys = capsys
    here.monkeypatch = monkeypatch
    for name, value in here.env.items():
        monkeypatch.setenv(name, value)
    return here


def test_lost_positions_of_a_source_are_shown_and_repaired(here: Here) -> None:
    """A router that stopped because its positions were lost continues where the command has set them."""
    here.subscribe(subscription("one"))
    here.one_event_each()
    with here.router():
        here.wait_routed()
    assert here.run("list")[0] == 0
    here.lose_positions(router_group(here.names))
    with here.router() as router:
        assert isinstance(router.wait_ended(), Unavailable)

    code, shown, _ = here.run("list")
    assert code == 1
    assert f"{here.events_topic}: started at earliest, " in shown
    assert f"`signpost positions set {here.events_topic} --to" in shown
    code, shown, _ = here.run("set", here.events_topic, "--to", "latest", "--yes")
    assert code == 0
    assert f"{here.events_topic} partition 1: none -> 1\n" in shown
    assert f"3 positions of the group {router_group(here.names)} set" in shown
    here.one_event_each()
    with here.router():
        here.wait_routed()

    assert len(here.jobs()) == 6, "three before, three after"
    assert here.run("list")[0] == 0


def test_events_that_are_read_again_are_not_late(here: Here) -> None:
    """After `--to earliest` old events count from the time of the command. New events count from their append."""
    here.subscribe(subscription("one"))
    here.one_event_each()
    with here.router():
        here.wait_routed()
    before_ms = time.time_ns() // 1_000_000

    assert here.run("set", here.events_topic, "--to", "earliest", "--yes")[0] == 0
    here.one_event_each()
    with here.router():
        here.wait_routed()

    appended_ms = {
        (message.partition(), message.offset()): message.timestamp()[1]
        for message in read_topic(here.bootstrap_servers, here.events_topic)
    }
    jobs = here.jobs()
    assert sorted(job.source_offset for job in jobs) == [0] * 6 + [1] * 3
    old = sorted(job.appended_at_ms >= before_ms for job in jobs if job.source_offset == 0)
    assert old == [False] * 3 + [True] * 3
    new = [job for job in jobs if job.source_offset == 1]
    assert all(job.appended_at_ms == appended_ms[job.source_partition, 1] for job in new)


def test_source_continues_at_its_recorded_positions(here: Here) -> None:
    """`--to recorded` sets each partition to the last position that the router has recorded for it."""
    here.one_event_each()
    with here.router({"start_at": "now"}) as router:
        router.wait_ready()
    here.lose_positions(router_group(here.names))
    here.one_event_each()

    assert here.run("set", "zenoo.events", "--to", "recorded", "--yes")[0] == 0

    assert here.positions() == {0: 1, 1: 1, 2: 1}


def test_partition_is_set_to_an_offset_or_a_time(here: Here) -> None:
    """One partition can be set alone. The command shows the records that are skipped or repeated."""
    for n in range(4):
        here.produce(here.events_topic, value_of(event(f"evt_{n}")), partition=1)
    third = read_topic(here.bootstrap_servers, here.events_topic)[2].timestamp()[1]
    wanted = next(
        m.offset() for m in read_topic(here.bootstrap_servers, here.events_topic) if m.timestamp()[1] >= third
    )
    here.commit({0: 0, 1: 4, 2: 0})

    shown = here.run("set", here.events_topic, "--partition", "1", "--to", "3", "--yes")[1]
    assert f"{here.events_topic} partition 1: 4 -> 3 (reads 1 record again)\n" in shown
    assert here.positions() == {0: 0, 1: 3, 2: 0}
    at = datetime.fromtimestamp(third / 1_000, UTC).isoformat()
    assert here.run("set", here.events_topic, "--partition", "1", "--to", at, "--yes")[0] == 0
    assert here.positions()[1] == wanted
    shown = here.run("set", here.events_topic, "--partition", "1", "--to", "latest", "--yes")[1]
    assert f"(skips {4 - wanted} records)" in shown

    assert here.run("set", here.events_topic, "--partition", "1", "--to", "5", "--yes")[0] == 2
    assert here.run("set", here.events_topic, "--partition", "7", "--to", "0", "--yes")[0] == 2
    assert here.run("set", here.events_topic, "--to", "yesterday", "--yes")[0] == 2
    assert here.run("set", "outcomes", "--to", "latest", "--yes")[0] == 2
    assert here.positions() == {0: 0, 1: 4, 2: 0}


def test_nothing_is_set_without_confirmation(here: Here) -> None:
    """The command shows the changes and asks for confirmation. Without a terminal it sets nothing."""
    here.commit({0: 0, 1: 0, 2: 0})
    here.one_event_each()
    code, shown, _ = here.run("set", here.events_topic, "--to", "latest")
    assert code == 1
    assert "partition 2: 0 -> 1 (skips 1 record)" in shown
    assert here.positions() == {0: 0, 1: 0, 2: 0}


def test_positions_of_a_running_group_are_not_changed(here: Here) -> None:
    """While a router runs, the command sets nothing, and the error names the router's group."""
    with here.router() as router:
        router.wait_ready()
        before = here.positions()
        code, _, error = here.run("set", here.events_topic, "--to", "earliest", "--yes")
        assert here.positions() == before

    assert code == 1
    assert f"the group {router_group(here.names)} has members: " in error
    assert "Stop these processes, set the positions" in error


def test_lost_positions_of_jobs_are_set_for_all_delay_topics(here: Here) -> None:
    """Setting `jobs.0s` alone warns about delay topics without a position. The pattern sets all of them."""
    first = here.names.jobs(FIRST)
    deferral = here.names.jobs(DEFERRAL_DELAY)
    for partition in range(3):
        here.produce(first, b"job", partition=partition)
        here.produce(deferral, b"job", partition=partition)
    here.lose_positions(delivery_group(here.names))
    code, shown, _ = here.run("list")
    assert code == 1
    assert f"`signpost positions set '{here.names.prefix}jobs.*' --to" in shown

    shown = here.run("set", first, "--to", "latest")[1]
    assert f"warning: {deferral} have no position either" in shown
    assert here.run("set", "jobs.*", "--to", "latest", "--yes")[0] == 0

    assert here.deliver_positions(first) == here.deliver_positions(deferral) == {0: 1, 1: 1, 2: 1}
    assert here.run("list")[0] == 0


def test_positions_are_shown_as_json(here: Here) -> None:
    """`--json` has per partition the committed offset, the beginning and end of the log, and the waiting records."""
    here.commit({0: 0, 1: 0, 2: 0})
    here.one_event_each()
    here.delete_events(before=1)
    code, shown, _ = here.run("list", "--json")
    found = json.loads(shown)
    delay_topics = delays_of(sender.schedule for sender in load_senders().values())

    assert code == 0
    wanted = {"committed": 0, "begin": 0, "end": 1, "waiting": 1, "exact": True, "recorded": None}
    place = {"group": router_group(here.names), "topic": here.events_topic}
    assert place | {"partition": 1} | wanted in found["positions"]
    assert place | {"partition": 0} | wanted | {"begin": 1, "waiting": 0} in found["positions"]
    assert len({entry["topic"] for entry in found["positions"]}) == 1 + len(delay_topics)
    assert any("retention deleted 0 to 0 before they were read" in remark["sentence"] for remark in found["remarks"])
    named = json.loads(here.run("list", "jobs.1*", "router", "--json")[1])
    prefix = here.names.prefix
    delay_topic_names = {prefix + name for name in ("jobs.1s", "jobs.1m", "jobs.10h", "jobs.14h")}
    assert {entry["topic"] for entry in named["positions"]} == {here.events_topic} | delay_topic_names


def test_missing_topics_are_named_with_the_command_that_creates_them(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an empty cluster the command names the missing topics and the command that creates them."""
    here = Here(broker.bootstrap_servers, prefix, sources=[])
    here.capsys = capsys
    here.monkeypatch = monkeypatch
    for name, value in here.env.items():
        monkeypatch.setenv(name, value)
    code, _, error = here.run("list")
    assert code == 1
    assert "`signpost topics apply` creates it" in error

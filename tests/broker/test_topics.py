"""Topics are planned, applied and checked. Applying twice, concurrently or partially loses nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from consumers.kafka.topics import Create, Impossible, Reconfigure, SetBeginning, apply, check, plan
from deploy.cli.main import main
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST, Topic, TopicNames, delays_of, own_topics
from tests.support.topics import admin_of, create_topic
from tests.support.waiting import wait_until

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Cluster:
    """The topics of one prefix."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.kafka = {"bootstrap.servers": bootstrap_servers}
        self.admin = admin_of(bootstrap_servers)
        self.names = TopicNames(prefix)

    def wanted(self, *delay_topics: timedelta, partitions: int = 3, max_event: int = 1_048_576) -> list[Topic]:
        return own_topics(
            self.names, delays_of([delay_topics]), ["zenoo"], partitions=partitions, replication=1, max_event=max_event
        )

    def positions(self) -> dict[int, int]:
        group = f"{self.names.prefix}deliver"
        asked = [TopicPartition(self.names.jobs(FIRST), n) for n in range(3)]
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group].result(30)
        return {p.partition: p.offset for p in answer.topic_partitions if p.offset >= 0}

    def configs(self, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        (future,) = self.admin.describe_configs([resource]).values()
        return {name: entry.value for name, entry in future.result(30).items()}

    def set_config(self, topic: str, name: str, value: str) -> None:
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(30)


@pytest.fixture
def cluster(broker: Broker, prefix: str) -> Cluster:
    return Cluster(broker.bootstrap_servers, prefix)


def test_apply_creates_all_topics_and_the_first_position_once(cluster: Cluster) -> None:
    """After one apply no change is left, roles may start, and delivery starts at the beginning of `jobs.0s`."""
    wanted = cluster.wanted(MINUTE)
    with pytest.raises(Unavailable, match="signpost topics apply"):
        check(cluster.kafka, cluster.admin, wanted, cluster.names)

    made = apply(cluster.kafka, cluster.admin, wanted, cluster.names)

    assert [change.topic.name for change in made if isinstance(change, Create)] == [topic.name for topic in wanted]
    assert cluster.positions() == {0: 0, 1: 0, 2: 0}
    assert plan(cluster.kafka, cluster.admin, wanted, cluster.names) == []
    assert apply(cluster.kafka, cluster.admin, wanted, cluster.names) == []
    check(cluster.kafka, cluster.admin, wanted, cluster.names)
    assert cluster.configs(cluster.names.jobs(MINUTE))["retention.ms"] == str(30 * 86_400_000 + 60_000)


def test_concurrent_applies_succeed(cluster: Cluster) -> None:
    """Concurrent applies all succeed with the same result."""
    wanted = cluster.wanted(MINUTE)
    with ThreadPoolExecutor(4) as pool:
        for future in [
            pool.submit(apply, cluster.kafka, admin_of(cluster.bootstrap_servers), wanted, cluster.names)
            for _ in "1234"
        ]:
            future.result()

    assert plan(cluster.kafka, cluster.admin, wanted, cluster.names) == []
    assert cluster.positions() == {0: 0, 1: 0, 2: 0}


def test_new_delay_topic_is_created(cluster: Cluster) -> None:
    """A new step in a sender's schedule creates its delay topic and changes nothing else."""
    apply(cluster.kafka, cluster.admin, cluster.wanted(MINUTE), cluster.names)

    (change,) = apply(cluster.kafka, cluster.admin, cluster.wanted(MINUTE, HOUR), cluster.names)

    assert isinstance(change, Create)
    assert change.topic.name == cluster.names.jobs(HOUR)


def test_changed_configs_are_altered_back(cluster: Cluster) -> None:
    """Changed configs are shown with both values and altered back. Configs that Signpost does not set stay."""
    wanted = cluster.wanted(MINUTE)
    apply(cluster.kafka, cluster.admin, wanted, cluster.names)
    cluster.set_config(cluster.names.subscriptions, "cleanup.policy", "delete")
    cluster.set_config(cluster.names.subscriptions, "segment.ms", "86400000")

    (change,) = wait_until(
        lambda: plan(cluster.kafka, cluster.admin, wanted, cluster.names), what="the brokers know the change"
    )
    assert isinstance(change, Reconfigure)
    assert str(change) == f"alter {cluster.names.subscriptions}: cleanup.policy delete -> compact"
    with pytest.raises(Unavailable, match=r"cleanup\.policy delete -> compact"):
        check(cluster.kafka, cluster.admin, wanted, cluster.names)
    apply(cluster.kafka, cluster.admin, wanted, cluster.names)

    assert plan(cluster.kafka, cluster.admin, wanted, cluster.names) == []
    assert cluster.configs(cluster.names.subscriptions)["segment.ms"] == "86400000"


def test_another_number_of_partitions_is_refused_before_any_change(cluster: Cluster) -> None:
    """The first apply fixes the number of partitions. A plan with another number changes nothing."""
    apply(cluster.kafka, cluster.admin, cluster.wanted(MINUTE), cluster.names)
    wanted = cluster.wanted(MINUTE, HOUR, partitions=6)

    with pytest.raises(Unavailable, match="it has 3 partitions, the settings say 6"):
        apply(cluster.kafka, cluster.admin, wanted, cluster.names)

    assert cluster.names.jobs(HOUR) not in cluster.admin.list_topics(timeout=10).topics
    assert any(isinstance(change, Impossible) for change in plan(cluster.kafka, cluster.admin, wanted, cluster.names))


@pytest.mark.decision("O42")
def test_tests_has_one_partition_whatever_the_settings_say(cluster: Cluster) -> None:
    """`tests` is created with one partition. A topic with more is refused, and no setting is blamed."""
    create_topic(cluster.bootstrap_servers, cluster.names.tests, 3)
    wanted = cluster.wanted(MINUTE)
    with pytest.raises(Unavailable, match="it has 3 partitions, and 1 is the only right number") as refused:
        apply(cluster.kafka, cluster.admin, wanted, cluster.names)
    assert "settings" not in str(refused.value)
    cluster.admin.delete_topics([cluster.names.tests])[cluster.names.tests].result(30)
    wait_until(lambda: cluster.names.tests not in cluster.admin.list_topics(timeout=10).topics, what="it is deleted")

    changes = apply(cluster.kafka, cluster.admin, wanted, cluster.names)

    assert f"create {cluster.names.tests}: 1 partition, replication 1" in map(str, changes)
    assert len(cluster.admin.list_topics(timeout=10).topics[cluster.names.tests].partitions) == 1
    assert cluster.configs(cluster.names.tests)["cleanup.policy"] == "delete"
    assert cluster.configs(cluster.names.tests)["retention.ms"] == str(30 * 86_400_000)


def test_existing_event_topics_are_not_changed(cluster: Cluster) -> None:
    """An existing event topic is not compared: its team decides its partitions and configs."""
    create_topic(cluster.bootstrap_servers, cluster.names.events("zenoo"), 7, retention_ms="1000")

    apply(cluster.kafka, cluster.admin, cluster.wanted(MINUTE), cluster.names)

    assert plan(cluster.kafka, cluster.admin, cluster.wanted(MINUTE), cluster.names) == []
    assert len(cluster.admin.list_topics(timeout=10).topics[cluster.names.events("zenoo")].partitions) == 7


def test_interrupted_apply_is_completed_by_the_next(cluster: Cluster) -> None:
    """Topics without delivery's first position, as a killed apply leaves them, get it by the next apply."""
    first = next(topic for topic in cluster.wanted(MINUTE) if topic.name == cluster.names.jobs(FIRST))
    create_topic(cluster.bootstrap_servers, first.name, 3, **{k.replace(".", "_"): v for k, v in first.configs.items()})
    wanted = cluster.wanted(MINUTE)
    beginning = SetBeginning(f"{cluster.names.prefix}deliver", first.name, (0, 1, 2))
    wait_until(
        lambda: beginning in plan(cluster.kafka, cluster.admin, wanted, cluster.names),
        what="the brokers know the topic",
    )

    apply(cluster.kafka, cluster.admin, wanted, cluster.names)

    assert cluster.positions() == {0: 0, 1: 0, 2: 0}
    check(cluster.kafka, cluster.admin, wanted, cluster.names)


def test_lost_position_of_a_topic_with_jobs_is_not_guessed(cluster: Cluster) -> None:
    """If `jobs.0s` has records, apply does not set delivery to the beginning."""
    wanted = cluster.wanted(MINUTE)
    apply(cluster.kafka, cluster.admin, wanted, cluster.names)
    group = f"{cluster.names.prefix}deliver"
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
    for number in range(3):
        producer.produce(cluster.names.jobs(FIRST), b"job", partition=number)
    producer.flush(30)
    cluster.admin.delete_consumer_groups([group])[group].result(30)

    assert apply(cluster.kafka, cluster.admin, wanted, cluster.names) == []
    assert cluster.positions() == {}


def test_positions_are_not_changed_while_delivery_runs(cluster: Cluster) -> None:
    """Applying while delivery runs changes none of its positions."""
    wanted = cluster.wanted(MINUTE)
    apply(cluster.kafka, cluster.admin, wanted, cluster.names)
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": f"{cluster.names.prefix}deliver", "log_level": 0}
    )
    assigned: list[int] = []
    consumer.subscribe([cluster.names.jobs(FIRST)], on_assign=lambda _, partitions: assigned.append(len(partitions)))
    while not assigned:
        consumer.poll(0.1)
    consumer.commit(offsets=[TopicPartition(cluster.names.jobs(FIRST), 0, 5)], asynchronous=False)

    assert apply(cluster.kafka, cluster.admin, cluster.wanted(MINUTE, HOUR), cluster.names)

    assert cluster.positions() == {0: 5, 1: 0, 2: 0}
    consumer.close()


def test_command_plans_and_applies(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`topics plan` exits with 1 while topics differ, and with 0 after `topics apply`."""
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("SIGNPOST_PREFIX", prefix)
    monkeypatch.setenv("SIGNPOST_PARTITIONS", "2")
    monkeypatch.setenv("SIGNPOST_REPLICATION", "1")

    def run(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(["topics", *arguments])
        return ended.value.code or 0, capsys.readouterr().out

    assert run("plan")[0] == 1
    code, made = run("apply")
    assert code == 0
    assert f"create {prefix}jobs.24h: 2 partitions, replication 1" in made
    assert run("plan") == (0, "all topics are configured as required\n")
    assert "nothing changed" in run("apply")[1]


def test_too_few_brokers_name_the_setting(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`topics apply` on one broker with the default replication says which setting helps."""
    monkeypatch.setenv("SIGNPOST_KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("SIGNPOST_PREFIX", prefix)
    with pytest.raises(SystemExit) as ended:
        main(["topics", "apply"])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert "replication 3 needs as many brokers, and the cluster has 1 broker; set replication = 1 in" in error
    assert "SIGNPOST_REPLICATION=1" in error

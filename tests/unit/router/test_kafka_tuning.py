"""What a person sets for librdkafka counts, except where a promise rests on a property."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from consumers.kafka.group_member import member_config
from consumers.router.output import producer_config as router_producer
from consumers.router.source import consumer_config as router_consumer
from deploy.roles.delivery import consumer_config as delivery_consumer
from schemas.settings.kafka_properties import REFUSED, tuned

Config = Callable[[Mapping[str, str]], dict[str, Any]]
CONSUMERS: list[Config] = [
    lambda kafka: delivery_consumer(dict(kafka), "group", 0),
    lambda kafka: router_consumer(kafka, "group", 0),
]
PRODUCERS: list[Config] = [lambda kafka: router_producer(kafka, 1_000_000)]
WISHES = {
    "linger.ms": "77",
    "compression.type": "zstd",
    "fetch.wait.max.ms": "77",
    "fetch.queue.backoff.ms": "77",
    "queued.max.messages.kbytes": "7777",
    "topic.metadata.refresh.interval.ms": "7777",
    "reconnect.backoff.max.ms": "7777",
}


@pytest.mark.parametrize("config", CONSUMERS + PRODUCERS)
def test_a_persons_tuning_counts(config: Config) -> None:
    """Whatever Signpost sets for speed alone is replaced by what a person sets."""
    assert WISHES.items() <= config(tuned({"bootstrap.servers": "127.0.0.1:1", **WISHES})).items()


@pytest.mark.parametrize("config", CONSUMERS + PRODUCERS)
def test_what_promises_rest_on_stays(config: Config) -> None:
    """A property that may not be set is what Signpost makes it, even if it came through."""
    plain = config({})
    own = {name: plain[name] for name in REFUSED if name in plain}
    assert own
    assert own.items() <= config(dict.fromkeys(own, "something else")).items()


@pytest.mark.parametrize("wish", [{}, {"reconnect.backoff.ms": "5000"}, {"reconnect.backoff.max.ms": "20000"}])
def test_librdkafka_takes_what_is_tuned(wish: Mapping[str, str]) -> None:
    """Whatever a person sets about reconnecting, the result is a configuration that librdkafka accepts."""
    kafka = {**tuned(wish), "log_level": 0}
    Producer(kafka)
    Consumer({**kafka, "group.id": "group"}).close()

    assert wish.items() <= kafka.items()


@pytest.mark.parametrize("config", [delivery_consumer, router_consumer])
def test_every_role_is_a_member_of_its_group_alike(config: Callable[..., dict[str, Any]]) -> None:
    """With an instance a process is a static member by a name that holds its group; without one it is not."""
    slotted = config({}, "a.group", 7)
    assert slotted["group.instance.id"] == "a.group.7"
    assert "group.instance.id" not in config({}, "a.group", None)
    assert member_config({}, "a.group", 7).items() <= slotted.items()

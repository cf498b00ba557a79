"""Operators may tune librdkafka, except for properties that a promise depends on."""

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
TUNING = {
    "linger.ms": "77",
    "compression.type": "zstd",
    "fetch.wait.max.ms": "77",
    "fetch.queue.backoff.ms": "77",
    "queued.max.messages.kbytes": "7777",
    "topic.metadata.refresh.interval.ms": "7777",
    "reconnect.backoff.max.ms": "7777",
}


@pytest.mark.parametrize("config", CONSUMERS + PRODUCERS)
def test_operator_tuning_applies(config: Config) -> None:
    """An operator's property replaces one that Signpost sets only for speed."""
    assert TUNING.items() <= config(tuned({"bootstrap.servers": "127.0.0.1:1", **TUNING})).items()


@pytest.mark.parametrize("config", CONSUMERS + PRODUCERS)
def test_reserved_properties_stay(config: Config) -> None:
    """A property that may not be set keeps Signpost's value, even if another value gets this far."""
    plain = config({})
    own = {name: plain[name] for name in REFUSED if name in plain}
    assert own
    assert own.items() <= config(dict.fromkeys(own, "something else")).items()


@pytest.mark.parametrize("given", [{}, {"reconnect.backoff.ms": "5000"}, {"reconnect.backoff.max.ms": "20000"}])
def test_librdkafka_accepts_tuned_reconnects(given: Mapping[str, str]) -> None:
    """With any reconnect property, the result is a configuration that librdkafka accepts."""
    kafka = {**tuned(given), "log_level": 0}
    Producer(kafka)
    Consumer({**kafka, "group.id": "group"}).close()

    assert given.items() <= kafka.items()


@pytest.mark.parametrize("config", [delivery_consumer, router_consumer])
def test_roles_are_static_members_with_an_instance(config: Callable[..., dict[str, Any]]) -> None:
    """With an instance, a process is a static member whose id contains its group; without one it is not."""
    static = config({}, "a.group", 7)
    assert static["group.instance.id"] == "a.group.7"
    assert "group.instance.id" not in config({}, "a.group", None)
    assert member_config({}, "a.group", 7).items() <= static.items()

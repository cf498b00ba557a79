"""The librdkafka properties that settings may contain, and the reason for each refused one.

Properties have the names of librdkafka's CONFIGURATION.md and are passed through unchanged. Signpost sets those itself
on which its promises depend: at-least-once delivery, bounded repeats, order of offsets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from schemas.catalog.errors import SettingsError

_LOSS: Final = "an acknowledged record must survive the loss of a broker, once and in order"
_OFFSETS: Final = "Signpost commits offsets itself, in the transaction that holds the outcomes"
_GROUP: Final = "one process has to own the same partition of every delay topic"
_FENCING: Final = "Signpost fixes how a lost process is fenced and after which time its partitions move"
_BACKOFF: Final = "transactions need short backoffs; otherwise each one waits about 100 ms"
_API: Final = "only a program can set it, not text"

REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "enable.gapless.guarantee",
            "delivery.report.only.error",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "message.send.max.retries",
            "retries",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "queuing.strategy",
            "produce.offset.report",
        ),
        _LOSS,
    ),
    **dict.fromkeys(
        (
            "enable.auto.commit",
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ),
        _OFFSETS,
    ),
    **dict.fromkeys(
        (
            "partition.assignment.strategy",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
            "group.id",
            "group.instance.id",
        ),
        _GROUP,
    ),
    **dict.fromkeys(
        (
            "transactional.id",
            "transaction.timeout.ms",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
        ),
        _FENCING,
    ),
    **dict.fromkeys(("retry.backoff.ms", "retry.backoff.max.ms"), _BACKOFF),
    **dict.fromkeys(
        (
            "default_topic_conf",
            "enable_sasl_queue",
            "enabled_events",
            "interceptors",
            "log.queue",
            "msg_order_cmp",
            "opaque",
            "ssl_ca",
            "ssl_certificate",
            "ssl_engine_callback_data",
            "ssl_key",
        ),
        _API,
    ),
    **dict.fromkeys(
        ("queue.buffering.max.messages", "queue.buffering.max.kbytes"),
        "max_uncommitted bounds the queued records, and the queue must always have room for them",
    ),
    "isolation.level": "a reader must never see records of aborted transactions",
    "auto.offset.reset": "Signpost never guesses a position; see the setting start_at",
    "partitioner": "a key must go to the same partition as with Java producers",
    "allow.auto.create.topics": "only `signpost topics apply` creates topics, with the right configuration",
    "enable.partition.eof": "tables need it to detect that they are current",
    "message.max.bytes": "Signpost derives it from the setting max_event",
    "metadata.broker.list": "it is an alias of bootstrap.servers; set that",
    "test.mock.num.brokers": "events would go to a mock broker that does not store them",
}

# For every consumer that reads whole topics; settings do not override these.
_WHOLE_TOPIC: Final[dict[str, str | int | bool]] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}

# Property names with a literal underscore. In environment variables it does not have to be doubled.
_UNDERSCORED: Final = {"log.level": "log_level"}
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]*")
_SECRET: Final = re.compile(r"password|secret|passphrase|key\.pem|jaas|oauthbearer\.config|kinit\.cmd")


def tuned(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties with defaults that suit every client of Signpost.

    A client puts its own defaults before these, and the properties on which its promises depend after them.
    """
    if "reconnect.backoff.ms" in properties:  # librdkafka refuses a value above reconnect.backoff.max.ms
        return dict(properties)
    # Reconnect within one second after a broker returns; the default is 10 s.
    return {"reconnect.backoff.max.ms": "1000", **properties}


def whole_topic_config(
    kafka: Mapping[str, str], group: str, *, tuning: Mapping[str, Any], own: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the properties of a consumer that reads whole topics with manually assigned partitions.

    `kafka`, the properties of the settings, overrides `tuning`; `own` overrides `kafka`. The consumer never joins the
    group and commits nothing, but librdkafka requires a group id.
    """
    return {**tuning, **kafka, **_WHOLE_TOPIC, **own, "group.id": group}


def property_of_variable(rest: str) -> str:
    """Return the property of a variable name without `SIGNPOST_KAFKA_`: `_` stands for a dot, `__` for `_`."""
    name = "_".join(part.replace("_", ".") for part in rest.lower().split("__"))
    return _UNDERSCORED.get(name, name)


def check_property(name: str) -> None:
    """Raise SettingsError with the reason if settings may not contain this property."""
    reason = REFUSED.get(name) or (_API if name.endswith("_cb") else None)
    if reason is not None:
        raise SettingsError(f"Kafka property {name} cannot be set: {reason}")
    if _NAME.fullmatch(name) is None:
        raise SettingsError(f"{name!r} is not the name of a Kafka property; expected a name such as bootstrap.servers")


def is_secret(name: str) -> bool:
    """Return whether the value of this property must not be shown."""
    return _SECRET.search(name) is not None

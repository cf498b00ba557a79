"""Which properties of librdkafka a person may set, under which name, and why not the others.

Properties are passed through as they are, under the names of librdkafka's CONFIGURATION.md: what Signpost promises
(at least once, bounded repeats, order of offsets) rests on some of them, and those are its own.
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
_FENCING: Final = "how long a lost process holds its partitions up, and what fences it, are fixed"
_BACKOFF: Final = "transactions need short backoffs, or each one waits a tenth of a second"
_API: Final = "it is set by a program, not by text"

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
        "max_uncommitted bounds what is queued, and the queue must always have room for it",
    ),
    "isolation.level": "a reader must never see what an aborted transaction wrote",
    "auto.offset.reset": "a position is never guessed; see the setting start_at",
    "partitioner": "a key has to come to the partition where Java producers put it",
    "allow.auto.create.topics": "topics are made by `signpost topics apply`, with the right configuration",
    "enable.partition.eof": "tables learn from it that they are current",
    "message.max.bytes": "it follows from the setting max_event",
    "metadata.broker.list": "set bootstrap.servers, of which it is an alias",
    "test.mock.num.brokers": "events would go to a broker that only pretends to keep them",
}

# Of every consumer that reads whole topics, whatever a person tunes.
_WHOLE_TOPIC: Final[dict[str, str | int | bool]] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}

# Names with a literal underscore that text can set; in the environment they are written without doubling it.
_UNDERSCORED: Final = {"log.level": "log_level"}
_NAME: Final = re.compile(r"[a-z][a-z0-9._-]*")
_SECRET: Final = re.compile(r"password|secret|passphrase|key\.pem|jaas|oauthbearer\.config|kinit\.cmd")


def tuned(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties with what suits every client of Signpost, where a person says nothing else.

    What suits one client alone is put before these by that client; what its promises rest on, after them.
    """
    if "reconnect.backoff.ms" in properties:  # librdkafka refuses one that is longer than the longest
        return dict(properties)
    # A broker that is back is found within a second, not within ten.
    return {"reconnect.backoff.max.ms": "1000", **properties}


def whole_topic_config(
    kafka: Mapping[str, str], group: str, *, tuning: Mapping[str, Any], own: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the properties of a consumer that reads whole topics, with the partitions assigned by hand.

    `kafka` is what a person sets; it overrides `tuning`, and `own` overrides it. The group is never joined and commits
    nothing: librdkafka needs a name.
    """
    return {**tuning, **kafka, **_WHOLE_TOPIC, **own, "group.id": group}


def property_of_variable(rest: str) -> str:
    """Return the property for what follows `SIGNPOST_KAFKA_`: SASL_MECHANISM is sasl.mechanism; `__` a literal `_`."""
    name = "_".join(part.replace("_", ".") for part in rest.lower().split("__"))
    return _UNDERSCORED.get(name, name)


def check_property(name: str) -> None:
    """Raise SettingsError with the reason if this property is not a person's to set."""
    reason = REFUSED.get(name) or (_API if name.endswith("_cb") else None)
    if reason is not None:
        raise SettingsError(f"Kafka property {name} cannot be set: {reason}")
    if _NAME.fullmatch(name) is None:
        raise SettingsError(f"{name!r} is not the name of a Kafka property: they look like bootstrap.servers")


def is_secret(name: str) -> bool:
    """Tell whether the value of this property must not be shown."""
    return _SECRET.search(name) is not None

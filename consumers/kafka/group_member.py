"""Consumers that are members of a group: properties, polls and leaving, the same for all roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message
from structlog.typing import FilteringBoundLogger

from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from consumers.kafka.positions import failed_for_good
from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable

# The partitions of a dead process are read by no other process for this long.
SESSION_TIMEOUT_MS: Final = 10_000
POLL_INTERVAL_MS: Final = 15_000
# Errors of a position that is outside of its log.
OUTSIDE_OF_LOG: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


def member_config(
    kafka: Mapping[str, str], group: str, instance: int | None, *, tuning: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return librdkafka's properties for a role's consumer.

    `tuning` are Signpost's defaults and `kafka` the user's properties, which override them. Neither can override the
    properties that delivery guarantees depend on. `instance` makes the process a static member: its restart moves no
    partition.
    """
    static = {} if instance is None else {"group.instance.id": f"{group}.{instance}"}
    return {
        "fetch.wait.max.ms": 50,
        **(tuning or {}),
        **kafka,
        **static,
        "group.id": group,
        # The range assignor gives partition n of all co-partitioned topics to the same process.
        "partition.assignment.strategy": "range",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "max.poll.interval.ms": POLL_INTERVAL_MS,
        "heartbeat.interval.ms": 1_000,
    }


def poll_messages(consumer: Consumer, seconds: float, limit: int) -> list[Message]:
    """Return at most `limit` messages that have arrived, or one; waits at most `seconds` for the first.

    Unavailable after a fatal error of the client.
    """
    try:
        first = consumer.poll(seconds)
        # `consume` with a timeout would wait for all of them.
        return [] if first is None else [first, *consumer.consume(max(0, limit - 1), 0)]
    except CLIENT_ERRORS as error:
        raise Unavailable(failed_for_good(reason_of(error))) from error


def close_within(consumer: Consumer, seconds: float, log: FilteringBoundLogger) -> None:
    """Close a consumer, which leaves its group unless it is a static member; gives up after `seconds`.

    A commit in flight to a coordinator that does not respond would block the close for minutes, and no call cancels it.
    The process then exits with the consumer still open.
    """
    try:
        in_thread("close", consumer.close).result(seconds)
    except TimeoutError:
        log.warning("consumer.close_failed")

"""Consumer properties of a group member, the same for all roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# The partitions of a dead process are read by no other process for this long.
SESSION_TIMEOUT_MS: Final = 10_000
POLL_INTERVAL_MS: Final = 15_000


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

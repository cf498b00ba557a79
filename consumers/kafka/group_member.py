"""What makes a process a member of its role's consumer group: the same for all roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# A lost process's partitions stand still for so long.
SESSION_TIMEOUT_MS: Final = 10_000
POLL_INTERVAL_MS: Final = 15_000


def member_config(
    kafka: Mapping[str, str], group: str, instance: int | None, *, tuning: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return librdkafka's properties for a role's consumer.

    `kafka` is what a person sets, `tuning` what Signpost would have where they set nothing; what the promises rest on
    is beyond both. `instance` makes the process a static member, whose restart moves no partition.
    """
    static = {} if instance is None else {"group.instance.id": f"{group}.{instance}"}
    return {
        "fetch.wait.max.ms": 50,
        **(tuning or {}),
        **kafka,
        **static,
        "group.id": group,
        # On co-partitioned topics it gives partition n of every one to the same process.
        "partition.assignment.strategy": "range",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "max.poll.interval.ms": POLL_INTERVAL_MS,
        "heartbeat.interval.ms": 1_000,
    }

"""Members of a consumer group, and new positions for a group without members. All calls block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import LATEST, TIMEOUT_S, failed, from_time, list_offsets, result, settled
from consumers.kafka.position_plan import PositionChange
from consumers.kafka.positions import PartitionKey, commit_positions
from schemas.catalog.errors import Unavailable


def members_of(admin: AdminClient, group: str) -> list[str]:
    """Return a name for each member of a group."""
    members = settled(lambda: _members(admin, group))
    return sorted(f"{member.group_instance_id or member.client_id} at {member.host}" for member in members)


def _members(admin: AdminClient, group: str) -> Sequence[Any]:
    future = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
    try:
        return result(future, f"the group {group}").members  # type: ignore[no-any-return]  # the futures have no types
    except Unavailable as error:
        cause = error.__cause__
        if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise


def refuse_members(admin: AdminClient, group: str, then: str = "set the positions") -> None:
    """Raise Unavailable if a group has members, such as when brokers let only them change its positions."""
    if members := members_of(admin, group):
        raise Unavailable(
            f"the group {group} has members: {', '.join(members)}. Stop these processes, {then}, then start "
            "the processes again. A process started with --instance stays a member for 10 s after it stops"
        )


def offsets_at(admin: AdminClient, partitions: Iterable[PartitionKey], at: datetime) -> dict[PartitionKey, int]:
    """Return the offset of the first record that is not older than `at`; the end of the log if there is none."""
    keys = list(partitions)
    # Request the end first, so that records appended in between come after it and are not skipped.
    ends = _offsets(admin, keys, LATEST)
    found = _offsets(admin, keys, from_time(int(at.timestamp() * 1_000)))
    return {key: offset if offset >= 0 else ends[key] for key, offset in found.items()}


def set_positions(kafka: Mapping[str, str], group: str, changes: Iterable[PositionChange]) -> None:
    """Commit positions for a group without members, without their metadata; Unavailable if the brokers refuse."""
    commit_positions(kafka, group, {(change.topic, change.partition): change.to for change in changes})


def _offsets(admin: AdminClient, keys: Sequence[PartitionKey], spec: Any) -> dict[PartitionKey, int]:
    try:
        return list_offsets(admin, keys, spec, IsolationLevel.READ_UNCOMMITTED).wait()
    except KafkaException as error:
        raise failed(error, f"the offsets of {', '.join(sorted({topic for topic, _ in keys}))}") from error

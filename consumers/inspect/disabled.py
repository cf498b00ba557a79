"""When and why endpoints were disabled: from the topic `operations`, which keeps it for 30 days, and from `health`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from consumers.inspect.scan import Scanner
from schemas.catalog.errors import UnreadableRecord
from schemas.records.health import Health, decode_operation
from schemas.records.topics import TopicNames


class Disabling(NamedTuple):
    """A subscription was disabled: when, and why (`gone` or `failing`)."""

    at_ms: int
    reason: str


def disablings(scanner: Scanner, names: TopicNames, health: Mapping[str, Health]) -> dict[str, list[Disabling]]:
    """Return all known ones by subscription, the oldest first."""
    found: dict[str, set[Disabling]] = {}
    for one in health.values():
        if one.disabled_at_ms is not None:
            found.setdefault(one.subscription_id, set()).add(Disabling(one.disabled_at_ms, one.reason))
    for batch in scanner.read(scanner.ranges_of([names.operations])):
        for message in batch:
            try:
                operation = decode_operation(message.value())
            except UnreadableRecord:
                continue
            if operation.kind == "endpoint_disabled" and operation.subscription_id is not None:
                disabling = Disabling(operation.at_ms, operation.reason)
                found.setdefault(operation.subscription_id, set()).add(disabling)
    return {id_: sorted(ones) for id_, ones in found.items()}

"""Reads the topic `health` for commands."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient

from consumers.kafka.compacted_partition import CompactedPartition
from schemas.records.health import Health, decode_all
from schemas.settings.settings import Settings


def read_health(settings: Settings) -> Mapping[str, Health]:
    """Return the health of failing and disabled endpoints, by subscription; Unavailable if it cannot be read.

    Unreadable entries are skipped: delivery writes them again.
    """
    kafka, topic = settings.kafka_properties(), settings.names.health
    admin = AdminClient({**kafka}, logger=logging.getLogger("signpost.kafka"))
    states = CompactedPartition(kafka, admin, topic).read_all()
    by_subscription: dict[str, Health] = {}
    for state in states.values():
        by_subscription |= decode_all(state, lambda _id, _error: None)
    return by_subscription

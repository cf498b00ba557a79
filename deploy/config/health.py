"""What delivery found out about endpoints, read whole for a command."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from confluent_kafka.admin import AdminClient

from consumers.kafka.compacted_partition import CompactedPartition
from schemas.records.health import Health, decode_all
from schemas.settings.settings import Settings


def read_health(settings: Settings) -> Mapping[str, Health]:
    """Return what is known of endpoints that fail or are disabled, by subscription; Unavailable if it cannot be read.

    What cannot be decoded is left out: it is status, and found out anew.
    """
    kafka, topic = settings.kafka_properties(), settings.names.health
    admin = AdminClient({**kafka}, logger=logging.getLogger("signpost.kafka"))
    states = CompactedPartition(kafka, admin, topic).read_all()
    found: dict[str, Health] = {}
    for state in states.values():
        found |= decode_all(state, lambda _id, _error: None)
    return found

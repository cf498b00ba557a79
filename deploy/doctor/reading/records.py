"""Reads the compacted topics with subscriptions and API keys."""

from __future__ import annotations

import time
from collections.abc import Mapping

from deploy.doctor.checks.subscriptions import SubscriptionRecords
from producers.compacted.log import Unreadable
from producers.keys.log import KeyLog
from producers.subscriptions.log import SubscriptionLog
from schemas.records.api_key import ApiKey
from schemas.records.topics import TopicNames


def read_subscriptions(kafka: Mapping[str, str], names: TopicNames, timeout_s: float) -> SubscriptionRecords:
    """Return all records of the topic `subscriptions`; Unavailable if it cannot be read in time."""
    log = SubscriptionLog(kafka, names.subscriptions, monotonic=time.monotonic, sleep=time.sleep, timeout_s=timeout_s)
    try:
        log.read()
        return SubscriptionRecords(dict(log.items()), log.conflicts())
    finally:
        log.close()


def read_api_keys(kafka: Mapping[str, str], names: TopicNames, timeout_s: float) -> dict[str, ApiKey | Unreadable]:
    """Return all records of the topic `api-keys`; Unavailable if it cannot be read in time."""
    log = KeyLog(kafka, names, timeout_s=timeout_s)
    try:
        log.compacted.read()
        return log.all()
    finally:
        log.compacted.close()

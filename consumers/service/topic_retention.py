"""Metric of the retention of the topics that a role reads. An alert compares it with the age of unread records.

A thread reads the configuration of the topics when the role starts, and every few minutes after that, because an
operator may change it. Only retention by time counts: retention by size has no time of deletion.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    ConfigResource,
    ResourceType,
)

from consumers.kafka.admin import REQUEST_ERRORS, TIMEOUT_S, result, sentence_of

_log = structlog.get_logger("topic_retention")
_EVERY_S: Final = 300.0
_RETRY_S: Final = 30.0


@contextmanager
def watching_retention(
    admin: AdminClient, topics: Collection[str], on_retention: Callable[[Mapping[str, float]], None]
) -> Iterator[None]:
    """Call `on_retention` with the retention of topics in seconds: at once, and every 5 minutes within the block."""
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(admin, topics, on_retention, ended), name="retention", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def _watch(
    admin: AdminClient,
    topics: Collection[str],
    on_retention: Callable[[Mapping[str, float]], None],
    ended: threading.Event,
) -> None:
    while not ended.is_set():
        try:
            on_retention(retention_of(admin, topics))
        except REQUEST_ERRORS as error:  # the present values stay
            _log.info("topic_retention.lookup_failed", error=sentence_of(error))
            ended.wait(_RETRY_S)
        else:
            ended.wait(_EVERY_S)


def retention_of(admin: AdminClient, topics: Collection[str]) -> dict[str, float]:
    """Return the retention of these topics in seconds, without topics that have no time limit. Blocks."""
    if not topics:
        return {}
    futures = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=TIMEOUT_S
    )
    found: dict[str, float] = {}
    for resource, future in futures.items():
        seconds = seconds_of(result(future, f"the configuration of {resource.name}"))
        if seconds is not None:
            found[str(resource.name)] = seconds
    return found


def seconds_of(config: Mapping[str, Any]) -> float | None:
    """Return the retention in the configuration of a topic; None without retention by time."""
    policy, retention = config.get("cleanup.policy"), config.get("retention.ms")
    if policy is None or retention is None or "delete" not in str(policy.value).split(","):
        return None
    milliseconds = int(retention.value)
    return None if milliseconds < 0 else milliseconds / 1_000

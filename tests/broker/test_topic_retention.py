"""The retention of topics on a real broker, which the alert about unread records compares with their age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its package names no __all__

from consumers.service.topic_retention import retention_of, watching_retention
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST
from tests.support.installation import Installation
from tests.support.pipeline import Pipeline
from tests.support.waiting import wait_until

DAY_S = timedelta(days=1).total_seconds()


def test_topics_that_time_empties_have_a_retention(here: Installation, prefix: str) -> None:
    """A topic has the retention of its configuration; one without a limit of time, or that is compacted, has none."""
    configs = {
        "week": {"retention.ms": str(int(7 * DAY_S * 1_000))},
        "unlimited": {"retention.ms": "-1"},
        "compacted": {"cleanup.policy": "compact"},
        "both": {"cleanup.policy": "compact,delete", "retention.ms": "60000"},
    }
    topics = [NewTopic(f"{prefix}{name}", 1, 1, config=config) for name, config in configs.items()]
    for future in here.admin.create_topics(topics).values():
        future.result(30)
    found = wait_until(lambda: retention_of(here.admin, [topic.topic for topic in topics]), 30, "the topics exist")
    assert found == {f"{prefix}week": 7 * DAY_S, f"{prefix}both": 60}


def test_unknown_topic_is_an_error_of_the_lookup(here: Installation, prefix: str) -> None:
    """The watch reports the retention at once; a lookup of a topic that does not exist names it."""
    seen: list[Mapping[str, float]] = []
    with watching_retention(here.admin, [here.events_topic], seen.append):
        wait_until(lambda: seen, 30, "the retention is known")
    assert [*seen[0]] == [here.events_topic]
    with pytest.raises(Unavailable, match="no-such-topic"):
        retention_of(here.admin, [here.events_topic, f"{prefix}no-such-topic"])


def test_roles_show_the_retention_of_what_they_read(pipeline: Pipeline) -> None:
    """Router and delivery have a value for the topics whose unread records they count, so that an alert can divide."""
    router, deliver = pipeline.router(), pipeline.deliver()
    first = pipeline.names.jobs(FIRST)
    wait_until(
        lambda: router.metric("signpost_topic_retention_seconds", topic=pipeline.events_topic) > 0,
        30,
        "the router shows the retention of its source",
    )
    wait_until(
        lambda: deliver.metric("signpost_topic_retention_seconds", topic=first) == 30 * DAY_S,
        30,
        "delivery shows the retention of its topics",
    )

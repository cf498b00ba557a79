"""Event topics of test installations: that of the sender zenoo only, unless a test is about all senders.

Otherwise every test would create and read a topic for each loaded sender.
"""

from __future__ import annotations

from deploy.config.wanted_topics import sources_of
from schemas.records.topics import Topic, delays_of, own_topics
from schemas.senders.sender import load_senders
from schemas.settings.settings import Settings


def zenoo_alone(prefix: str) -> list[dict[str, str]]:
    """Return the setting `sources` with the topic of zenoo only."""
    return [{"topic": f"{prefix}zenoo.events", "sender": "zenoo"}]


def topics_and_sources(settings: Settings) -> list[Topic]:
    """Return all topics that an installation needs, including event topics of its sources with Signpost's names."""
    names = settings.names
    ours = [source.sender for source in sources_of(settings) if source.topic == names.events(source.sender)]
    return own_topics(
        names,
        delays_of(sender.schedule for sender in load_senders().values()),
        ours,
        partitions=settings.partitions,
        replication=settings.replication,
        max_event=settings.max_event,
    )

"""The topics that this installation needs, from the settings and the schedules of the loaded senders."""

from __future__ import annotations

from deploy.config.senders import senders_of
from schemas.records.topics import Topic, delays_of, own_topics
from schemas.settings.settings import EventSource, Settings


def sources_of(settings: Settings) -> tuple[EventSource, ...]:
    """Return the source topics: those of the settings, else one topic of Signpost per loaded sender."""
    if settings.sources:
        return settings.sources
    return tuple(EventSource(topic=settings.names.events(name), sender=name) for name in senders_of(settings))


def wanted_topics(settings: Settings) -> list[Topic]:
    """Return all topics that Signpost creates; event topics are among them only if the settings name no sources."""
    senders = senders_of(settings)
    return own_topics(
        settings.names,
        delays_of(sender.schedule for sender in senders.values()),
        () if settings.sources else senders,
        partitions=settings.partitions,
        replication=settings.replication,
        max_event=settings.max_event,
    )

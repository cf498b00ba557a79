"""What commands need to find an event by any of its ids."""

from __future__ import annotations

from consumers.inspect.scan import Scanner
from consumers.inspect.traces import Tracer
from consumers.kafka.schema_registry import FAIL_FAST_S, SchemaRegistry
from deploy.config.senders import senders_of
from deploy.roles.router import source_senders
from schemas.records.topics import delays_of
from schemas.senders.event_codec import EventDecoder
from schemas.settings.settings import Settings


def tracer_of(scanner: Scanner, settings: Settings) -> tuple[Tracer, tuple[str, ...]]:
    """Return a tracer for all sources of the settings, and the names of these topics."""
    url = settings.schema_registry_url
    registry = None if url is None else SchemaRegistry(url, fail_fast_s=FAIL_FAST_S)
    senders = senders_of(settings)
    sources = {topic: (sender, EventDecoder(sender, registry)) for topic, sender in source_senders(settings).items()}
    delay_topics = [settings.names.jobs(delay) for delay in delays_of(sender.schedule for sender in senders.values())]
    return Tracer(scanner, settings.names, delay_topics, sources, senders), tuple(sources)

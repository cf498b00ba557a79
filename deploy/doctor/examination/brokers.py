"""Examines the brokers: their configuration, topics, ACLs, clocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from confluent_kafka.admin import AdminClient

from consumers.kafka.schema_registry import RegistryWorks
from consumers.kafka.topics import plan
from deploy.config.senders import senders_of
from deploy.config.wanted_topics import sources_of, wanted_topics
from deploy.doctor.checks.acls import check_access, groups_of, hidden_topics
from deploy.doctor.checks.clock import check_clocks
from deploy.doctor.checks.cluster import ClusterView, check_brokers, check_partitions
from deploy.doctor.checks.topics import check_sources, check_topics
from deploy.doctor.examination.context import OF_BROKERS, Context, Reading
from deploy.doctor.findings import NotObserved, Observed, error
from deploy.doctor.reading.clock import read_broker_clocks, read_registry_clock
from deploy.doctor.reading.cluster import connect, read_access, read_cluster
from deploy.doctor.reading.services import RegistryReading
from schemas.records.topics import delays_of


def examine_brokers(context: Context, registry: Reading[RegistryReading] | None) -> ClusterView | None:
    """Check everything on the brokers but records; return what was read, None if no broker responds."""
    settings = context.settings
    admin = context.read(partial(connect, context.loaded, context.environment.connect_s))
    if isinstance(admin, NotObserved):
        do = "start the brokers, or correct bootstrap.servers; `signpost settings` shows where it comes from"
        context.add([error("broker", "broker_unreachable", "bootstrap.servers", admin.reason, do)])
        context.skip(OF_BROKERS, "no broker responds")
        return None
    wanted = wanted_topics(settings)
    own = [topic.name for topic in wanted]
    sources = [source.topic for source in sources_of(settings)]
    changes = context.start(partial(plan, settings.kafka_properties(), admin.value, wanted, settings.names))
    found = context.read(partial(read_cluster, admin.value, [*own, *sources]))
    if isinstance(found, NotObserved):
        do = "check that the brokers run and respond"
        context.add([error("broker", "broker_unreachable", "cluster", found.reason, do)])
        context.skip(OF_BROKERS, "the configuration of the cluster cannot be read")
        return None
    cluster = found.value
    context.add(check_brokers(cluster, settings.replication))
    hidden = _examine_access(context, admin.value, cluster, own, sources)
    planned = changes.result()
    if isinstance(planned, NotObserved):
        do = "check the brokers and the ACLs of the principal; `signpost topics plan` repeats the request"
        context.add([error("topics", "topics_unreadable", "topics", planned.reason, do)])
    else:
        context.add(check_topics(planned.value, hidden))
    context.add(check_partitions(cluster, sources))
    context.add(check_sources([topic for topic in sources if topic not in own], {*cluster.topics, *hidden}))
    _examine_clocks(context, cluster, registry)
    return cluster


def _examine_access(
    context: Context, admin: AdminClient, cluster: ClusterView, own: Sequence[str], sources: Sequence[str]
) -> frozenset[str]:
    """Check the ACLs; return the topics that they hide."""
    settings, names, roles = context.settings, context.settings.names, context.request.roles
    groups = groups_of(names, roles)
    place = (names.subscriptions, 0)
    kafka = settings.kafka_properties()
    access = context.read(partial(read_access, kafka, admin, cluster, groups, topics={*own, *sources}, place=place))
    delays = delays_of(sender.schedule for sender in senders_of(settings).values())
    context.add(check_access(access, names, [names.jobs(delay) for delay in delays], sources, roles))
    return hidden_topics(access)


def _examine_clocks(context: Context, cluster: ClusterView, registry: Reading[RegistryReading] | None) -> None:
    """Compare our clock with the brokers', or with that of the registry if theirs cannot be read."""
    name = context.settings.names.api_key_uses
    topic = cluster.topics.get(name)
    if topic is None:
        context.skip(["clock"], f"the topic {name} does not exist")
        return
    kafka, clock = context.settings.kafka_properties(), context.environment.clock
    readings = context.read(partial(read_broker_clocks, kafka, topic, clock))
    read = registry.result() if isinstance(readings, NotObserved) and registry is not None else None
    if isinstance(read, Observed) and isinstance(read.value.state, RegistryWorks):
        instead = read_registry_clock(read.value.state.date, read.value.before_ms, read.value.after_ms)
        readings = Observed(instead) if instead else readings
    context.add(check_clocks(readings))

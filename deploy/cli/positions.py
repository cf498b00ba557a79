"""`signpost positions`: where sources and delay topics are read from, shown, and set if lost."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from confluent_kafka.admin import AdminClient

from consumers.inspect.lag import waiting_records
from consumers.kafka.admin import REQUEST_ERRORS, sentence_of
from consumers.kafka.group_positions import offsets_at, refuse_members, set_positions
from consumers.kafka.position_plan import PositionChange, PositionTarget, chosen, parse_target, plan_changes
from consumers.kafka.position_report import about_delay_topics, about_sources
from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource, SourcesTopic
from consumers.kafka.topics import check_leaders, check_sources, delivery_group, router_group
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.positions_view import as_json, print_positions
from deploy.cli.scanning import no_bar, scanning
from deploy.config.admin import reachable_admin
from deploy.config.wanted_topics import sources_of
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.input.durations import parse_duration
from schemas.records.topics import FIRST
from schemas.settings.settings import Settings

_STOPPED: Final = 1

app = command_app("Show where sources and jobs are read from, and set positions that were lost.")


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The two groups and the topics that they read: the router's sources, and the delay topics of delivery."""

    settings: Settings
    admin: AdminClient
    router: str
    sources: list[str]
    deliver: str
    delay_topics: list[str]

    def of(self, topic: str) -> str:
        """Return the group that reads a topic."""
        return self.router if topic in self.sources else self.deliver


@app.command("list")
def _list(
    ctx: typer.Context,
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help="Only these topics: names or patterns ('jobs.*'), with or without the prefix; `router` or `deliver` "
            "means all topics of that group.",
            show_default=False,
        ),
    ] = None,
    *,
    each: Annotated[bool, typer.Option("--each", help="One row per partition.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, one object per partition.")] = False,
) -> None:
    """Show committed positions, where each log begins and ends, what waits, and the positions recorded of sources.

    Similar partitions of a topic share a row with their lowest and highest numbers. WAITING counts records one by
    one; of very many it is an upper bound (≤). Remarks follow below the table. Exit code 1: a position is lost, and a
    role stops until it is set.
    """
    settings = settings_of(ctx)
    cluster = _named(_cluster(settings), topics)
    check_leaders(cluster.admin, [*cluster.sources, *cluster.delay_topics])
    sources = _found(cluster, cluster.router, cluster.sources)
    delay_topics = _found(cluster, cluster.deliver, cluster.delay_topics)
    recorded = {
        topic: source
        for topic, source in _recorded_positions(cluster).items()
        if not topics or topic in cluster.sources
    }
    remarks = about_sources(cluster.sources, sources, recorded)
    if cluster.delay_topics:
        remarks += about_delay_topics(settings.names.jobs(FIRST), cluster.delay_topics, delay_topics)
    found = {**sources, **delay_topics}
    with scanning(settings) as scanner:
        waiting = waiting_records(scanner, found)
        no_bar(scanner)
    if json:
        print_json(as_json(found, waiting, cluster.of, recorded, remarks))
    else:
        print_positions(found, waiting, recorded, remarks, each=each)
    if any(remark.stops for remark in remarks):
        raise typer.Exit(_STOPPED)


def _named(cluster: _Cluster, wanted: Sequence[str] | None) -> _Cluster:
    """Return the cluster with only the named topics; with all if none is named."""
    if not wanted:
        return cluster
    groups = {"router": cluster.sources, "deliver": cluster.delay_topics}
    named = [topic for name in wanted for topic in groups.get(name, [])]
    others = [name for name in wanted if name not in groups]
    named += chosen(others, [*cluster.sources, *cluster.delay_topics], cluster.settings.prefix, groups)
    return replace(
        cluster,
        sources=[topic for topic in cluster.sources if topic in named],
        delay_topics=[topic for topic in cluster.delay_topics if topic in named],
    )


@app.command("set")
def _set(
    ctx: typer.Context,
    topics: Annotated[list[str], typer.Argument(metavar="TOPIC", help="Sources or delay topics ('jobs.*').")],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHERE",
            help="`earliest` or `latest`: the beginning or the end of the log; `recorded`: the last recorded position "
            "of a source; a time (ISO 8601, UTC by default): the first record not older; or an offset.",
            show_default=False,
        ),
    ],
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", metavar="N", help="Only this one; repeatable.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Set where topics are read from. Stop the processes that read them first: routers, or delivery.

    Records before the new position are skipped; records from it on are read, even if they were read before.
    """
    target = parse_target(to)
    cluster = _cluster(settings_of(ctx))
    names = chosen(topics, [*cluster.sources, *cluster.delay_topics], cluster.settings.prefix)
    _set_all(cluster, names, target, partition, ask=not yes)


def _set_all(
    cluster: _Cluster, names: Sequence[str], target: PositionTarget, partitions: Sequence[int] | None, *, ask: bool
) -> None:
    involved = sorted({cluster.of(name) for name in names})
    for group in involved:
        refuse_members(cluster.admin, group)
    plans = {
        group: _plan(cluster, [name for name in names if cluster.of(name) == group], target, partitions)
        for group in involved
    }
    _show(cluster, names, plans)
    if ask:
        typer.confirm("Set these positions?", abort=True)
    for group, plan in plans.items():
        set_positions(cluster.settings.kafka_properties(), group, plan)
        typer.echo(f"{len(plan)} position{'' if len(plan) == 1 else 's'} of the group {group} set")
    _record_set(cluster, [name for name in names if name in cluster.sources])


def _record_set(cluster: _Cluster, sources: Sequence[str]) -> None:
    """Record the time on `sources`: old events that are read from now on are not late deliveries."""
    settings = cluster.settings
    if not sources or settings.names.sources not in cluster.admin.list_topics(timeout=10).topics:
        return
    try:
        topic = SourcesTopic(settings.kafka_properties(), cluster.admin, settings.names)
        topic.record_set(sources, time.time_ns() // 1_000_000)
    except REQUEST_ERRORS as error:
        typer.echo(
            f"warning: {settings.names.sources} could not be written ({sentence_of(error)}): the time to the first "
            "attempt of events that are read again counts from their append"
        )


def _plan(
    cluster: _Cluster, topics: Sequence[str], target: PositionTarget, partitions: Sequence[int] | None
) -> list[PositionChange]:
    found = _found(cluster, cluster.of(topics[0]), topics)
    for number in partitions or ():
        if lacking := [topic for topic in topics if (topic, number) not in found]:
            raise InvalidInput(f"--partition {number}: {lacking[0]} has no such partition")
    found = {key: known for key, known in found.items() if not partitions or key[1] in partitions}
    at_time = offsets_at(cluster.admin, found, target) if isinstance(target, datetime) else {}
    return plan_changes(target, found, at_time, _recorded_positions(cluster) if target == "recorded" else {})


def _show(cluster: _Cluster, names: Sequence[str], plans: Mapping[str, Sequence[PositionChange]]) -> None:
    """Show what would be set, and warn about delay topics that remain without a position."""
    settings = [setting for plan in plans.values() for setting in plan]
    moved = [setting for setting in settings if setting.was != setting.to]
    for setting in moved:
        typer.echo(str(setting))
    if len(moved) < len(settings):
        typer.echo(f"{len(settings) - len(moved)} of {len(settings)} positions are unchanged")
    if cluster.deliver not in plans:
        return
    others = [topic for topic in cluster.delay_topics if topic not in names]
    found = _found(cluster, cluster.deliver, others)
    if left := sorted({topic for (topic, _), known in found.items() if known.offset is None and known.end > 0}):
        typer.echo(
            f"warning: {', '.join(left)} have no position either. Delivery reads them from the beginning, like new "
            f"delay topics, and repeats jobs that ended long ago. '{cluster.settings.prefix}jobs.*' sets all of them."
        )


def _cluster(settings: Settings) -> _Cluster:
    admin = reachable_admin(settings)
    sources = [source.topic for source in sources_of(settings)]
    there = admin.list_topics(timeout=10).topics
    if not settings.sources and (missing := [topic for topic in sources if topic not in there]):
        raise Unavailable(f"the topic {missing[0]} does not exist: `signpost topics apply` creates it")
    check_sources(admin, sources)
    delay_topics = [topic for topic in there if re.fullmatch(settings.names.jobs_pattern, topic)]
    return _Cluster(
        settings,
        admin,
        router_group(settings.names),
        sources,
        delivery_group(settings.names),
        sorted(delay_topics, key=_delay),
    )


def _delay(topic: str) -> Any:
    return parse_duration(topic.rpartition(".")[2])


def _found(cluster: _Cluster, group: str, topics: Sequence[str]) -> Mapping[PartitionKey, PartitionOffsets]:
    return CommittedPositions(cluster.settings.kafka_properties(), cluster.admin, group).fetch_topics(topics)


def _recorded_positions(cluster: _Cluster) -> PositionsBySource:
    settings = cluster.settings
    if settings.names.sources not in cluster.admin.list_topics(timeout=10).topics:
        return {}  # an older version created the topics: `signpost topics apply` adds this one
    return SourcesTopic(settings.kafka_properties(), cluster.admin, settings.names).read()

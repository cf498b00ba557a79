"""`signpost positions`: where sources and tiers are read, and setting it by hand where it was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import OPERATE, print_json, settings_of
from deploy.cli.positions_view import as_json, print_positions
from schemas.errors import InvalidInput, Unavailable

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from confluent_kafka.admin import AdminClient

    from consumers.runtime.position_plan import PositionChange, PositionTarget
    from consumers.runtime.positions import PartitionKey, PartitionOffsets
    from consumers.runtime.source_positions import PositionsBySource
    from schemas.settings import Settings

_STOPPED: Final = 1

app = typer.Typer(help="Where sources and jobs are read: show it, and set it where it was lost.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """Each group and the topics that it reads: the router's sources, and the tiers of delivery."""

    settings: Settings
    admin: AdminClient
    router: str
    sources: list[str]
    deliver: str
    tiers: list[str]

    def of(self, topic: str) -> str:
        """Return the group that reads a topic."""
        return self.router if topic in self.sources else self.deliver


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="positions", rich_help_panel=OPERATE)


@app.command("list")
def _list(
    ctx: typer.Context,
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help="Only these: names or patterns ('jobs.*'), with or without the prefix; `router` or `deliver` are all "
            "that its group reads.",
            show_default=False,
        ),
    ] = None,
    *,
    each: Annotated[bool, typer.Option("--each", help="A row for each partition.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, partition by partition.")] = False,
) -> None:
    """Show what is committed, where the log begins and ends, what waits, and what was recorded of sources.

    Partitions of a topic that are alike share a row, with their lowest and highest numbers. WAITING counts offsets, and
    ends of transactions among them; `signpost lag` counts what really waits. Below the table stands what there is to
    say. Exit code 1: a position is lost, and a role stops until it is set.
    """
    from consumers.runtime.position_report import about_sources, about_tiers  # noqa: PLC0415  # clients load in 0.3 s
    from consumers.runtime.topics import check_leaders  # noqa: PLC0415
    from schemas.topics import FIRST  # noqa: PLC0415

    settings = settings_of(ctx)
    cluster = _named(_cluster(settings), topics)
    check_leaders(cluster.admin, [*cluster.sources, *cluster.tiers])
    sources = _found(cluster, cluster.router, cluster.sources)
    tiers = _found(cluster, cluster.deliver, cluster.tiers)
    notes = {topic: note for topic, note in _notes(cluster).items() if not topics or topic in cluster.sources}
    remarks = about_sources(cluster.sources, sources, notes)
    if cluster.tiers:
        remarks += about_tiers(settings.names.jobs(FIRST), cluster.tiers, tiers)
    if json:
        print_json(as_json({**sources, **tiers}, cluster.of, notes, remarks))
    else:
        print_positions({**sources, **tiers}, notes, remarks, each=each)
    if any(remark.stops for remark in remarks):
        raise typer.Exit(_STOPPED)


def _named(cluster: _Cluster, wanted: Sequence[str] | None) -> _Cluster:
    """Return of the cluster what is named, all of it where nothing is."""
    from consumers.runtime.position_plan import chosen  # noqa: PLC0415  # see above

    if not wanted:
        return cluster
    groups = {"router": cluster.sources, "deliver": cluster.tiers}
    named = [topic for name in wanted for topic in groups.get(name, [])]
    others = [name for name in wanted if name not in groups]
    named += chosen(others, [*cluster.sources, *cluster.tiers], cluster.settings.prefix)
    return replace(
        cluster,
        sources=[topic for topic in cluster.sources if topic in named],
        tiers=[topic for topic in cluster.tiers if topic in named],
    )


@app.command("set")
def _set(
    ctx: typer.Context,
    topics: Annotated[list[str], typer.Argument(metavar="TOPIC", help="Sources or tiers; 'jobs.*' are all tiers.")],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHERE",
            help="`earliest` or `latest`: the beginning or the end of the log; `recorded`: the last recorded position "
            "of a source; a time (ISO 8601, UTC if it says none): the first record not older; or an offset.",
            show_default=False,
        ),
    ],
    partition: Annotated[
        list[int] | None, typer.Option("--partition", metavar="N", help="Only these.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Set where topics are read from. Only while no process reads them: stop routers, or delivery, before.

    What lies before a position is not read any more; what lies behind it is, once again if it had been before.
    """
    from consumers.runtime.position_plan import chosen, parse_target  # noqa: PLC0415  # see above

    target = parse_target(to)
    cluster = _cluster(settings_of(ctx))
    names = chosen(topics, [*cluster.sources, *cluster.tiers], cluster.settings.prefix)
    _set_all(cluster, names, target, partition, ask=not yes)


def _set_all(
    cluster: _Cluster, names: Sequence[str], target: PositionTarget, partitions: Sequence[int] | None, *, ask: bool
) -> None:
    from consumers.runtime.group_positions import refuse_members, set_positions  # noqa: PLC0415  # see above

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


def _plan(
    cluster: _Cluster, topics: Sequence[str], target: PositionTarget, partitions: Sequence[int] | None
) -> list[PositionChange]:
    from consumers.runtime.group_positions import offsets_at  # noqa: PLC0415  # see above
    from consumers.runtime.position_plan import plan_changes  # noqa: PLC0415

    found = _found(cluster, cluster.of(topics[0]), topics)
    for number in partitions or ():
        if lacking := [topic for topic in topics if (topic, number) not in found]:
            raise InvalidInput(f"--partition {number}: {lacking[0]} has no such partition")
    found = {key: known for key, known in found.items() if not partitions or key[1] in partitions}
    at_time = offsets_at(cluster.admin, found, target) if isinstance(target, datetime) else {}
    return plan_changes(target, found, at_time, _notes(cluster) if target == "recorded" else {})


def _show(cluster: _Cluster, names: Sequence[str], plans: Mapping[str, Sequence[PositionChange]]) -> None:
    """Say what would be set, and which tiers are left without a position, and what that means."""
    settings = [setting for plan in plans.values() for setting in plan]
    moved = [setting for setting in settings if setting.was != setting.to]
    for setting in moved:
        typer.echo(str(setting))
    if len(moved) < len(settings):
        typer.echo(f"{len(settings) - len(moved)} of {len(settings)} positions are there already")
    if cluster.deliver not in plans:
        return
    others = [topic for topic in cluster.tiers if topic not in names]
    found = _found(cluster, cluster.deliver, others)
    if left := sorted({topic for (topic, _), known in found.items() if known.offset is None and known.end > 0}):
        typer.echo(
            f"attention: {', '.join(left)} have no position either, and are read from their beginning, as new tiers "
            f"are: with all jobs that were done long ago. '{cluster.settings.prefix}jobs.*' sets all of them."
        )


def _cluster(settings: Settings) -> _Cluster:
    import re  # noqa: PLC0415  # only here

    from consumers.runtime.topics import check_sources, delivery_group, router_group  # noqa: PLC0415  # see above
    from deploy.admin import reachable_admin  # noqa: PLC0415
    from deploy.wanted_topics import sources_of  # noqa: PLC0415

    admin = reachable_admin(settings)
    sources = [source.topic for source in sources_of(settings)]
    there = admin.list_topics(timeout=10).topics
    if not settings.sources and (missing := [topic for topic in sources if topic not in there]):
        raise Unavailable(f"the topic {missing[0]} does not exist: `signpost topics apply` makes it")
    check_sources(admin, sources)
    tiers = [topic for topic in there if re.fullmatch(settings.names.jobs_pattern, topic)]
    return _Cluster(
        settings,
        admin,
        router_group(settings.names),
        sources,
        delivery_group(settings.names),
        sorted(tiers, key=_delay),
    )


def _delay(topic: str) -> Any:
    from schemas.durations import parse_duration  # noqa: PLC0415  # see above

    return parse_duration(topic.rpartition(".")[2])


def _found(cluster: _Cluster, group: str, topics: Sequence[str]) -> Mapping[PartitionKey, PartitionOffsets]:
    from consumers.runtime.positions import CommittedPositions  # noqa: PLC0415  # see above

    return CommittedPositions(cluster.settings.kafka_properties(), cluster.admin, group).fetch_topics(topics)


def _notes(cluster: _Cluster) -> PositionsBySource:
    from consumers.runtime.source_positions import SourcesTopic  # noqa: PLC0415  # see above

    settings = cluster.settings
    if settings.names.sources not in cluster.admin.list_topics(timeout=10).topics:
        return {}  # of an older version: `signpost topics apply` makes it
    return SourcesTopic(settings.kafka_properties(), cluster.admin, settings.names).read()

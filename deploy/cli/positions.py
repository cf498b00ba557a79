"""`signpost positions`: where sources and tiers are read, and setting it by hand where it was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.context import OPERATE, print_json, settings_of
from schemas.errors import InvalidInput, Unavailable

if TYPE_CHECKING:  # confluent_kafka and pydantic: `signpost --help` does without
    from confluent_kafka.admin import AdminClient

    from consumers.runtime.position_plan import Setting, Target
    from consumers.runtime.position_report import Remark
    from consumers.runtime.positions import Found, PartitionKey
    from consumers.runtime.source_notes import Notes
    from schemas.settings import Settings

_STOPPED: Final = 1
_HEAD: Final = ("TOPIC", "PARTITION", "COMMITTED", "BEGIN", "END", "WAITING", "NOTED")

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
def _list(ctx: typer.Context, *, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show for each partition what is committed, where its log begins and ends, what waits, and what was noted.

    Below it stands what there is to say about them. Exit code 1: a position is lost, and a role stops until it is set.
    """
    from consumers.runtime.position_report import about_sources, about_tiers  # noqa: PLC0415  # clients load in 0.3 s
    from consumers.runtime.topics import check_leaders  # noqa: PLC0415
    from schemas.topics import FIRST  # noqa: PLC0415

    settings = settings_of(ctx)
    cluster = _cluster(settings)
    check_leaders(cluster.admin, [*cluster.sources, *cluster.tiers])
    sources = _found(cluster, cluster.router, cluster.sources)
    tiers = _found(cluster, cluster.deliver, cluster.tiers)
    notes = _notes(cluster)
    remarks = about_sources(cluster.sources, sources, notes)
    if cluster.tiers:
        remarks += about_tiers(settings.names.jobs(FIRST), cluster.tiers, tiers)
    if json:
        print_json(_as_json({**sources, **tiers}, cluster, notes, remarks))
    else:
        _print({**sources, **tiers}, notes, remarks)
    if any(remark.stops for remark in remarks):
        raise typer.Exit(_STOPPED)


@app.command("set")
def _set(
    ctx: typer.Context,
    topics: Annotated[
        list[str], typer.Argument(metavar="TOPIC…", help="Sources or tiers; 'signpost.jobs.*' are all tiers.")
    ],
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="earliest|latest|noted|TIME|OFFSET",
            help="The beginning or the end of the log, what was noted last of a source, the first record not older "
            "than a time (ISO 8601, UTC if it says none), or an offset.",
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
    cluster: _Cluster, names: Sequence[str], target: Target, partitions: Sequence[int] | None, *, ask: bool
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


def _plan(cluster: _Cluster, topics: Sequence[str], target: Target, partitions: Sequence[int] | None) -> list[Setting]:
    from consumers.runtime.group_positions import offsets_at  # noqa: PLC0415  # see above
    from consumers.runtime.position_plan import plan_settings  # noqa: PLC0415

    found = _found(cluster, cluster.of(topics[0]), topics)
    for number in partitions or ():
        if lacking := [topic for topic in topics if (topic, number) not in found]:
            raise InvalidInput(f"--partition {number}: {lacking[0]} has no such partition")
    found = {key: known for key, known in found.items() if not partitions or key[1] in partitions}
    at_time = offsets_at(cluster.admin, found, target) if isinstance(target, datetime) else {}
    return plan_settings(target, found, at_time, _notes(cluster) if target == "noted" else {})


def _show(cluster: _Cluster, names: Sequence[str], plans: Mapping[str, Sequence[Setting]]) -> None:
    """Say what would be set, and which tiers are left without a position, and what that means."""
    for setting in [setting for plan in plans.values() for setting in plan]:
        typer.echo(str(setting))
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


def _found(cluster: _Cluster, group: str, topics: Sequence[str]) -> Mapping[PartitionKey, Found]:
    from consumers.runtime.positions import CommittedPositions  # noqa: PLC0415  # see above

    return CommittedPositions(cluster.settings.kafka_properties(), cluster.admin, group).fetch_topics(topics)


def _notes(cluster: _Cluster) -> Notes:
    from consumers.runtime.source_notes import SourceNotes  # noqa: PLC0415  # see above

    settings = cluster.settings
    if settings.names.sources not in cluster.admin.list_topics(timeout=10).topics:
        return {}  # of an older version: `signpost topics apply` makes it
    return SourceNotes(settings.kafka_properties(), settings.names).read()


def _print(found: Mapping[PartitionKey, Found], notes: Notes, remarks: Sequence[Remark]) -> None:
    from consumers.runtime.position_report import waiting  # noqa: PLC0415  # see above

    rows = [_HEAD]
    for (topic, partition), known in found.items():
        note = notes.get(topic)
        noted = note.positions.get(partition) if note else None
        numbers = [partition, known.offset, known.begin, known.end, waiting(known), noted]
        rows.append((topic, *("-" if number is None else f"{number}" for number in numbers)))  # type: ignore[arg-type]  # as many as in the head
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        typer.echo("  ".join(cells))
    for _, note in sorted(notes.items()):
        if note is not None:
            last = "" if note.last_at_ms is None else f", last noted {_time(note.last_at_ms)}"
            how = "before it was noted" if note.start_at is None else f"at {note.start_at}"
            typer.echo(f"{note.topic}: started {how}, {_time(note.started_at_ms)}{last}")
    for remark in remarks:
        typer.echo(remark.sentence)


def _as_json(
    found: Mapping[PartitionKey, Found], cluster: _Cluster, notes: Notes, remarks: Sequence[Remark]
) -> dict[str, Any]:
    from consumers.runtime.position_report import waiting  # noqa: PLC0415  # see above

    return {
        "positions": [
            {
                "group": cluster.of(topic),
                "topic": topic,
                "partition": partition,
                "committed": known.offset,
                "begin": known.begin,
                "end": known.end,
                "waiting": waiting(known),
                "noted": None if (note := notes.get(topic)) is None else note.positions.get(partition),
            }
            for (topic, partition), known in found.items()
        ],
        "sources": [
            {
                "topic": note.topic,
                "start_at": note.start_at,
                "started_at": _time(note.started_at_ms),
                "last_noted_at": None if note.last_at_ms is None else _time(note.last_at_ms),
            }
            for note in notes.values()
            if note is not None
        ],
        "remarks": [{"sentence": remark.sentence, "stops": remark.stops} for remark in remarks],
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z")

"""How positions are shown: similar partitions of a topic in one row, or each in its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import typer

from consumers.inspect.lag import WaitingCount, spans
from consumers.kafka.position_report import Remark
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource
from deploy.cli.columns import Column, print_table

_COLUMNS: Final = (
    Column("TOPIC"),
    Column("PARTITION", right=True),
    Column("COMMITTED", right=True),
    Column("BEGIN", right=True),
    Column("END", right=True),
    Column("WAITING", right=True),
    Column("RECORDED", right=True),
)


def print_positions(
    found: Mapping[PartitionKey, PartitionOffsets],
    waiting: Mapping[PartitionKey, WaitingCount],
    sources: PositionsBySource,
    remarks: Sequence[Remark],
    *,
    each: bool,
) -> None:
    """Print a table of positions and of what waits, the positions recorded of sources, and the remarks."""
    print_table(_COLUMNS, rows_of(found, waiting, sources, each=each))
    topics = {topic for topic, _ in found}
    for _, source in sorted(sources.items()):
        if source is not None and source.topic in topics:
            last = "" if source.last_at_ms is None else f", last recorded {_time(source.last_at_ms)}"
            how = "before it was recorded" if source.start_at is None else f"at {source.start_at}"
            typer.echo(f"{source.topic}: started {how}, {_time(source.started_at_ms)}{last}")
    for remark in remarks:
        typer.echo(remark.sentence)


def rows_of(
    found: Mapping[PartitionKey, PartitionOffsets],
    waiting: Mapping[PartitionKey, WaitingCount],
    sources: PositionsBySource,
    *,
    each: bool,
) -> list[tuple[str, ...]]:
    """Return one row per group of similar partitions of a topic, or one per partition with `each`.

    The groups: everything is read, something waits, no position, position outside the log. Different numbers are shown
    as `lowest…highest`, waiting records as their sum; `≤` marks an upper bound.
    """
    similar: dict[tuple[object, ...], list[PartitionKey]] = {}
    for key, known in found.items():
        similar.setdefault((key[0], key[1] if each else _kind(known, waiting.get(key))), []).append(key)
    rows: list[tuple[str, ...]] = []
    for (topic, _), keys in similar.items():
        of = [found[key] for key in keys]
        waits = [waiting[key] for key in keys if key in waiting]
        rows.append(
            (
                str(topic),
                spans(partition for _, partition in keys),
                _range(known.offset for known in of),
                _range(known.begin for known in of),
                _range(known.end for known in of),
                _sum(waits),
                _range(_recorded(sources, key) for key in keys),
            )
        )
    return rows


def as_json(
    found: Mapping[PartitionKey, PartitionOffsets],
    waiting: Mapping[PartitionKey, WaitingCount],
    group_of: Callable[[str], str],
    sources: PositionsBySource,
    remarks: Sequence[Remark],
) -> dict[str, Any]:
    """Return everything for JSON, partition by partition."""
    return {
        "positions": [
            {
                "group": group_of(key[0]),
                "topic": key[0],
                "partition": key[1],
                "committed": known.offset,
                "begin": known.begin,
                "end": known.end,
                "waiting": waiting[key].records if key in waiting else None,
                "exact": key not in waiting or waiting[key].exact,
                "recorded": _recorded(sources, key),
            }
            for key, known in found.items()
        ],
        "sources": [
            {
                "topic": source.topic,
                "start_at": source.start_at,
                "started_at": _time(source.started_at_ms),
                "last_recorded_at": None if source.last_at_ms is None else _time(source.last_at_ms),
            }
            for source in sources.values()
            if source is not None
        ],
        "remarks": [{"sentence": remark.sentence, "stops": remark.stops} for remark in remarks],
    }


def _kind(known: PartitionOffsets, waiting: WaitingCount | None) -> str:
    if known.offset is None:
        return "none"
    if not known.begin <= known.offset <= known.end:
        return "outside"
    return "waits" if waiting is not None and waiting.records else "read"


def _sum(waits: Sequence[WaitingCount]) -> str:
    if not waits:
        return "-"
    return f"{'' if all(one.exact for one in waits) else '≤ '}{sum(one.records for one in waits):,}"


def _recorded(sources: PositionsBySource, key: PartitionKey) -> int | None:
    source = sources.get(key[0])
    return None if source is None else source.positions.get(key[1])


def _range(numbers: Iterable[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return "-"
    low, high = min(known), max(known)
    return str(low) if low == high else f"{low}…{high}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z")

"""How the demo shows what it counts: figures in lines, customers in columns, within 80 characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from rich.table import Table

from deploy.local.demo_tally import CUSTOMERS, Progress, Tally

_Figure: TypeAlias = Callable[[Tally], str]


def _count(name: str) -> _Figure:
    return lambda tally: f"{getattr(tally, name):,}"


def _latency(share: float) -> _Figure:
    def show(tally: Tally) -> str:
        latency = tally.percentile(share)
        return "-" if latency is None else f"{latency:,.0f} ms"

    return show


_FIGURES: Final[tuple[tuple[str, _Figure], ...]] = (
    *((name, _count(name)) for name in ("events", "jobs", "attempts", "delivered", "retried", "waiting", "dead")),
    ("signatures verified", _count("genuine")),
)
_LATENCIES: Final[tuple[tuple[str, _Figure], ...]] = (
    ("event to 2xx, p50", _latency(0.5)),
    ("event to 2xx, p99", _latency(0.99)),
)


def table_of(progress: Progress, caption: str, *, closing: bool) -> Table:
    """Return the table: counts while it runs, with rates and latencies at the end."""
    table = Table(
        title="Zenoo webhooks of three customers", title_justify="left", caption=caption, caption_justify="left"
    )
    table.add_column("")
    for customer in CUSTOMERS:
        table.add_column(f"{customer.id}\n{customer.endpoint}", justify="right", min_width=11)
    table.add_column("all", justify="right", min_width=11, style="bold")
    tallies = [*progress.tallies.values(), progress.sum()]
    for name, figure in (*_FIGURES, *(_LATENCIES if closing else ())):
        table.add_row(name, *(figure(tally) for tally in tallies))
    if closing:
        table.add_row("deliveries/s", *[""] * len(CUSTOMERS), f"{progress.rate():,.0f}")
    return table


def line_of(progress: Progress, phase: str, seconds: float) -> str:
    """Return the progress in one line, for where there is no terminal to draw on."""
    every = progress.sum()
    return (
        f"{seconds:3.0f} s: {every.events:,} events, {every.delivered:,} delivered, {every.waiting:,} waiting, "
        f"{every.dead:,} dead; {phase}"
    )

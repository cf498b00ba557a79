"""The demo's table: one row per endpoint, one column per figure, within 80 characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from rich import box
from rich.table import Table

from deploy.demo.tally import Customer, DemoProgress, Tally

_Figure: TypeAlias = Callable[[Tally], str]
_Columns: TypeAlias = Sequence[tuple[str, _Figure]]


def _count(name: str) -> _Figure:
    return lambda tally: f"{getattr(tally, name):,}"


def _latency(share: float) -> _Figure:
    def show(tally: Tally) -> str:
        latency = tally.percentile(share)
        return "-" if latency is None else f"{latency:,.0f}"

    return show


_COUNTS: Final[_Columns] = (
    ("events", _count("events")),
    ("jobs", _count("jobs")),
    ("attempts", _count("attempts")),
    ("verified", _count("genuine")),
    ("retried", _count("retried")),
    ("delivered", _count("delivered")),
    ("dead", _count("dead")),
)
_LIVE: Final[_Columns] = (*_COUNTS, ("waiting", _count("waiting")))
_CLOSING: Final[_Columns] = (*_COUNTS, ("p50", _latency(0.5)), ("p99", _latency(0.99)))
_LEGEND: Final = "verified: signatures that the endpoint verified; p50, p99: event to 2xx, in ms"


def table_of(progress: DemoProgress, caption: str, *, closing: bool) -> Table:
    """Return the table: counts while the demo runs; latencies and the rate when it closes."""
    table = Table(
        title=f"Webhooks of {len(progress.senders)} senders, for {len(progress.customers)} endpoints",
        title_justify="left",
        caption=f"{_LEGEND}\n{progress.rate():,.0f} deliveries/s; {caption}" if closing else caption,
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        show_footer=True,
        footer_style="bold",
        padding=(0, 0),
    )
    columns = _CLOSING if closing else _LIVE
    every = progress.sum()
    table.add_column("sender", "all", no_wrap=True)
    for name, figure in columns:
        table.add_column(name, figure(every), justify="right", overflow="fold")
    for customer in progress.customers:
        tally = progress.tallies[customer.id]
        table.add_row(_name(customer), *(figure(tally) for _, figure in columns))
    return table


def _name(customer: Customer) -> str:
    """Return the sender's name for its healthy endpoint, and the behaviour of any other, indented."""
    return customer.sender.name if customer.id == customer.sender.name else f"  {customer.endpoint}"


def line_of(progress: DemoProgress, phase: str, seconds: float) -> str:
    """Return the progress in one line, for output that is not a terminal."""
    every = progress.sum()
    return (
        f"{seconds:3.0f} s: {every.events:,} events, {every.delivered:,} delivered, {every.waiting:,} waiting, "
        f"{every.dead:,} dead; {phase}"
    )

"""`signpost demo`: the main job on a real broker, in under a minute."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.context import START, options_of, print_error

if TYPE_CHECKING:
    from rich.table import Table

    from deploy.local.demo import Progress

_FAILED: Final = 1
_RATE: Final = 500.0
_WITHIN_S: Final = 40.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", rich_help_panel=START)(_demo)


def _demo(
    ctx: typer.Context,
    events: Annotated[int, typer.Option(min=3, max=1_000_000, help="Events to publish.")] = 3_000,
) -> None:
    """Show the main job: events in, signed webhooks out, retries and dead letters, everything counted."""
    from rich.console import Console  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from rich.live import Live  # noqa: PLC0415

    from consumers.runtime.signals import Stop  # noqa: PLC0415
    from deploy.local import demo  # noqa: PLC0415
    from deploy.local.supervisor import Role  # noqa: PLC0415
    from deploy.local.up import running  # noqa: PLC0415
    from deploy.settings import load_settings  # noqa: PLC0415

    console, stop, progress = Console(), Stop(), demo.Progress()
    roles = [Role("router", 0), Role("deliver", 0)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="signpost-demo-") as folder:
        state, config = Path(folder), options_of(ctx).config
        overrides = {"delay_speedup": demo.SPEEDUP, "prefix": f"demo-{state.name[-8:].replace('_', '-')}."}
        with running(state, config, roles, console.print, overrides) as stack:
            if not stack.wait_ready(stop):
                raise typer.Exit(_FAILED)
            console.print("roles: router and deliver are ready")
            settings = load_settings(state, config)
            with demo.prepared(settings, progress) as outcomes, Live(console=console, refresh_per_second=8) as live:

                def show() -> None:
                    live.update(_table(progress))

                demo.publish(settings, progress, outcomes, events=events, rate=_RATE, show=show)
                demo.finish(progress, outcomes, within_s=_WITHIN_S, show=show)
                show()
    console.print(_figures(progress, time.monotonic() - began))
    problems = progress.problems()
    for problem in problems:
        print_error(problem)
    raise typer.Exit(_FAILED if problems else 0)


def _table(progress: Progress) -> Table:
    from rich.table import Table  # noqa: PLC0415  # see above

    from deploy.local.demo import CUSTOMERS  # noqa: PLC0415

    table = Table(title="Zenoo webhooks of three customers", title_justify="left")
    table.add_column("customer")
    table.add_column("endpoint")
    for name in ("events", "jobs", "delivered", "retried", "waiting", "dead", "signatures\nverified"):
        table.add_column(name, justify="right")
    for customer in CUSTOMERS:
        tally = progress.tallies[customer.id]
        # One subscription a customer, so one job an event.
        numbers = (tally.events, tally.events, tally.delivered, tally.retried, tally.waiting, tally.dead, tally.genuine)
        table.add_row(customer.id, customer.endpoint, *(f"{number:,}" for number in numbers))
    return table


def _figures(progress: Progress, seconds: float) -> str:
    tallies = progress.tallies.values()
    attempts, delivered = sum(t.attempts for t in tallies), sum(t.delivered for t in tallies)
    return (
        f"{delivered:,} deliveries by {attempts:,} attempts, {progress.rate():,.0f} deliveries/s; from event to 2xx "
        f"p50 {progress.percentile(0.5):,.0f} ms, p99 {progress.percentile(0.99):,.0f} ms (retries included, their "
        f"waits divided by 10,000); {seconds:.0f} s in all"
    )

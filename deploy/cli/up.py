"""`signpost up`: everything on this machine, in the foreground."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.cli.context import START, options_of

DEFAULT_STATE: Final = Path(".signpost")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", rich_help_panel=START)(_up)


def _up(
    ctx: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Folder for all that is written; .signpost by default."),
    ] = None,
    deliver: Annotated[int, typer.Option(min=1, max=32, help="Number of delivery processes.")] = 1,
    router: Annotated[int, typer.Option(min=1, max=32, help="Number of router processes.")] = 1,
) -> None:
    """Run a broker (if the settings name none), make the topics, and run all roles until Ctrl-C or SIGTERM."""
    from consumers.runtime.signals import Stop  # noqa: PLC0415  # clients load in 0.3 s that `--help` need not wait
    from deploy.local.supervisor import Role  # noqa: PLC0415
    from deploy.local.up import running  # noqa: PLC0415

    folder = state or options_of(ctx).state or DEFAULT_STATE
    roles = [Role("router", slot) for slot in range(router)] + [Role("deliver", slot) for slot in range(deliver)]
    stop = Stop()
    try:
        with running(folder, options_of(ctx).config, roles, typer.echo) as stack:
            if stack.wait_ready(stop):
                for line in _summary(folder, stack.broker.bootstrap_servers, stack.addresses):
                    typer.echo(line)
            stack.run(stop)
            typer.echo(f"draining, for at most {stack.settings.drain_timeout.total_seconds():.0f} s")
        typer.echo("drained")
    except KeyboardInterrupt:
        typer.echo("ended before it was up")


def _summary(state: Path, bootstrap_servers: str, addresses: dict[str, str]) -> list[str]:
    width = max(map(len, [*addresses, "state"]))
    lines = ["", f"  {'kafka':{width}}  {bootstrap_servers}"]
    lines += [f"  {name:{width}}  {address}/metrics  /healthz  /readyz" for name, address in addresses.items()]
    lines += [
        f"  {'state':{width}}  {state}  (logs in {state / 'logs'})",
        "",
        "ready; other terminals find it after",
        f"  export SIGNPOST_STATE={shlex.quote(str(state.absolute()))}",
        "Ctrl-C drains and ends everything",
    ]
    return lines

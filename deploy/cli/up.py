"""`signpost up`: everything on this machine, in the foreground."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from consumers.service.signals import Stop
from deploy.cli.context import command_app
from deploy.cli.options import options_of
from deploy.dev.supervisor import RoleProcess
from deploy.dev.up import running

_STATUS: Final = "/metrics  /healthz  /readyz"
_PATHS: Final = {"api": "/api/v1/webhooks/  /webhooks  /docs  (REST; keys: `signpost keys create`)"}
DEFAULT_STATE: Final = Path(".signpost")

app = command_app()


@app.command()
def _up(
    ctx: typer.Context,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Folder for settings, data and logs; .signpost by default."),
    ] = None,
    deliver: Annotated[int, typer.Option(min=1, max=32, help="Number of delivery processes.")] = 1,
    router: Annotated[int, typer.Option(min=1, max=32, help="Number of router processes.")] = 1,
) -> None:
    """Run a broker (unless the settings name one), create the topics, and run all roles until Ctrl-C or SIGTERM."""
    options = options_of(ctx)
    folder = state or options.state or DEFAULT_STATE
    roles = [RoleProcess("router", instance) for instance in range(router)]
    roles += [RoleProcess("deliver", instance) for instance in range(deliver)]
    roles += [RoleProcess("ledger", 0), RoleProcess("api", 0)]
    stop = Stop()
    try:
        with running(folder, options.config, roles, typer.echo, listen=True) as stack:
            if stack.wait_ready(stop):
                for line in _summary(folder, stack.broker.bootstrap_servers, stack.addresses):
                    typer.echo(line)
            stack.run(stop)
            typer.echo(f"draining, for at most {stack.settings.drain_timeout.total_seconds():.0f} s")
        typer.echo("drained")
    except KeyboardInterrupt:
        typer.echo("stopped before everything was running")


def _summary(state: Path, bootstrap_servers: str, addresses: dict[str, str]) -> list[str]:
    width = max(map(len, [*addresses, "state"]))
    lines = ["", f"  {'kafka':{width}}  {bootstrap_servers}"]
    lines += [f"  {name:{width}}  {address}{_PATHS.get(name, _STATUS)}" for name, address in addresses.items()]
    lines += [
        f"  {'state':{width}}  {state}  (logs in {state / 'logs'})",
        "",
        "ready; in other terminals, run this first:",
        f"  export SIGNPOST_STATE={shlex.quote(str(state.absolute()))}",
        "Ctrl-C drains and stops everything",
    ]
    return lines

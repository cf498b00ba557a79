"""`signpost api`: one process of the REST APIs."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from typing import Annotated, Final

import typer

from consumers.service.signals import Stop
from deploy.cli.context import command_app, settings_of
from deploy.cli.options import options_of
from deploy.cli.role import Supervised
from deploy.config.database import database_url_of
from deploy.config.logs import configure_logging
from deploy.config.senders import senders_of
from deploy.dev.addresses import split
from deploy.reference.openapi.pages import files
from deploy.roles.api import build
from deploy.roles.restart import exit_code_of
from schemas.catalog.errors import InvalidInput, Unavailable

_BACKLOG: Final = 2_048

app = command_app()


@app.command()
def _api(
    ctx: typer.Context,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address of the API, /metrics, /healthz and /readyz.")
    ] = None,
    instance: Annotated[int | None, typer.Option(min=0, hidden=True, help="Given by `signpost up`.")] = None,
    *,
    supervised: Supervised = False,
) -> None:
    """Serve the REST APIs by which customers manage their webhooks. Any number of processes may run."""
    settings = settings_of(ctx, broker=not supervised)
    url = database_url_of(settings, options_of(ctx).state)
    configure_logging(settings.log_level, settings.log_format)
    stop = Stop()
    with _listening(listen or settings.api_listen) as listening:
        docs = list(files(senders_of(settings).values(), version("kafka-signpost")))
        role = build(settings, url, docs)
        raise typer.Exit(exit_code_of(lambda: role.run(stop, stop.why_not_alive, listening), stop))


def _reason(error: OSError) -> str:
    """Return the reason of a failed `create_server` without the address, which its text repeats."""
    return os.strerror(error.errno) if error.errno is not None else str(error)


def _listening(listen: str) -> socket.socket:
    """Return a socket that listens; InvalidInput or Unavailable if the address cannot be used."""
    try:
        host, port = split(listen)
    except ValueError as error:
        raise InvalidInput(f"{listen!r} is not host:port, such as 127.0.0.1:9467") from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {listen}: {_reason(error)}; choose another address with --listen or the setting "
            "api_listen (port 0 takes any free port)"
        ) from error

"""`signpost endpoints`: the endpoints that need attention now."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from consumers.delivery.endpoint_report import EndpointRow
from consumers.inspect.endpoints import EndpointsReport, ask
from consumers.inspect.readable import time_text
from deploy.cli.columns import Column, print_table
from deploy.cli.context import command_app, print_json, settings_of
from deploy.cli.options import options_of
from deploy.cli.scanning import Json
from deploy.dev.state import addresses_of
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.input.terminal import printable

app = command_app()

COLUMNS: Final = (
    Column("SUBSCRIPTION", least=8, cut_order=1),
    Column("HOST", least=9, optional=True),
    Column("FAILING"),
    Column("LAST", least=7, cut_order=2),
    Column("FLIGHT", right=True),
    Column("WAITING", right=True),
    Column("DUE"),
    Column("LIMITED BY"),
)
_EVERY_S: Final = 2.0
_HINT: Final = "`--at HOST:PORT` names another delivery process, `--state DIR` the folder of a running `signpost up`"
_CLEAR: Final = "\x1b[H\x1b[2J"
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


@app.command()
def _endpoints(
    ctx: typer.Context,
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Status address of a delivery process; repeatable. By default the processes of `signpost up`, else "
            "deliver_listen.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Maximum number of endpoints.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 2 s until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show the worst endpoints: how and since when they fail, what is in flight and waiting, and what limits them.

    The command asks each delivery process. WAITING counts jobs in its memory and those that it knows to be deferred;
    `signpost lag` counts all. Narrow terminals show no hosts. docs/operations.md describes the reasons.
    """
    addresses = [_url(one) for one in at] if at else _known(ctx)
    while True:
        found = ask(addresses, limit)
        if watch and not json:
            typer.echo(_CLEAR, nl=False)
        _show(found, as_json=json)
        if not watch:
            break
        try:
            time.sleep(_EVERY_S)
        except KeyboardInterrupt:
            return
    if len(found.silent) == found.asked:
        if not at:
            typer.echo(_HINT, err=True)
        raise typer.Exit(1)


def _known(ctx: typer.Context) -> list[str]:
    """Return the status addresses of `signpost up`'s delivery processes, else the one of the settings."""
    settings = settings_of(ctx)
    state = options_of(ctx).state
    if state is not None and (found := addresses_of(state, "deliver")):
        return found
    if settings.deliver_listen.endswith(":0"):
        raise Unavailable("deliver_listen has no fixed port: name the delivery processes by --at")
    return [_url(settings.deliver_listen)]


def _url(address: str) -> str:
    if address.startswith(("http://", "https://")):
        return address.rstrip("/")
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise InvalidInput(f"--at: {address!r} is not host:port, such as 127.0.0.1:9465")
    return f"http://{host or '127.0.0.1'}:{port}"


def _show(found: EndpointsReport, *, as_json: bool) -> None:
    for address, why in found.silent.items():
        typer.echo(f"{address} did not respond: {why}", err=True)
    if as_json:
        rows = [_as_json(row) for row in found.endpoints]
        print_json({"endpoints": rows, "disabled": found.disabled, "silent": found.silent})
        return
    if found.endpoints:
        now_ms = time.time_ns() // 1_000_000
        print_table(COLUMNS, [_cells(row, now_ms) for row in found.endpoints])
    elif len(found.silent) < found.asked:
        responded = _count(found.asked - len(found.silent), "process")
        typer.echo(f"all is well: no endpoint fails, hangs or has jobs waiting ({responded} asked)")
    if found.disabled:
        typer.echo(f"{_count(found.disabled, 'subscription')} disabled; `signpost subscriptions list` shows them")


def _cells(row: EndpointRow, now_ms: int) -> tuple[str, ...]:
    last = str(row.last_status or row.last_error or "")
    limited = f"disabled: {row.disabled}" if row.disabled else row.limited_by or ""
    if row.circuit == "half_open":
        limited = "circuit_half_open"
    failing = "" if row.failing_since_ms is None else _span(now_ms - row.failing_since_ms)
    flight = "" if row.limit is None else f"{row.in_flight}/{row.limit}"
    waiting = f"{row.waiting + row.deferred:,}"
    cells = (row.subscription_id, row.host, failing, last, flight, waiting, _due(row.due_at_ms, now_ms), limited)
    return tuple(printable(cell) for cell in cells)


def _due(at_ms: int | None, now_ms: int) -> str:
    if at_ms is None:
        return ""
    return "now" if at_ms - now_ms < 500 else f"in {_span(at_ms - now_ms)}"


def _span(ms: int) -> str:
    seconds = max(0, ms) / 1_000
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{'' if number == 1 else plural}"


def _as_json(row: EndpointRow) -> dict[str, Any]:
    fields = asdict(row)
    for name in [name for name in fields if name.endswith("_ms")]:
        at_ms = fields.pop(name)
        fields[name.removesuffix("_ms")] = None if at_ms is None else time_text(at_ms)
    return fields

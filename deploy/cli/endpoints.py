"""`signpost endpoints`: the endpoints that need somebody's eye, now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from deploy.cli.columns import Column, print_table
from deploy.cli.context import OPERATE, options_of, print_json, settings_of
from deploy.cli.looking import Json
from schemas.errors import InvalidInput, Unavailable

if TYPE_CHECKING:  # `signpost --help` does without
    from consumers.console.endpoints import Found
    from consumers.delivery.overview import EndpointRow

COLUMNS: Final = (
    Column("SUBSCRIPTION", least=8, turn=1),
    Column("HOST", least=9, may_go=True),
    Column("FAILING"),
    Column("LAST", least=7, turn=2),
    Column("FLIGHT", right=True),
    Column("WAITING", right=True),
    Column("DUE"),
    Column("LIMITED BY"),
)
_EVERY_S: Final = 2.0
_ELSEWHERE: Final = "`--at HOST:PORT` says where else delivery processes are, `--state DIR` what `signpost up` runs"
_CLEAR: Final = "\x1b[H\x1b[2J"
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("endpoints", rich_help_panel=OPERATE)(_endpoints)


def _endpoints(
    ctx: typer.Context,
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where a delivery process serves its status; once for each. By default those of `signpost up`, else "
            "deliver_listen.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show the worst endpoints: failing since when and how, in flight, waiting, due when, and what limits them.

    Each delivery process is asked for what it sees. WAITING counts jobs in its memory and, as far as it knows, those
    that are deferred; `signpost lag` counts all. A narrow terminal shows no hosts. The reasons are described in
    docs/operations.md.
    """
    from consumers.console.endpoints import ask  # noqa: PLC0415  # httpx loads in 0.1 s that `--help` need not wait

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
            typer.echo(_ELSEWHERE, err=True)
        raise typer.Exit(1)


def _known(ctx: typer.Context) -> list[str]:
    """Return the processes of `signpost up`, else the one of the settings."""
    from deploy.local.state import addresses_of  # noqa: PLC0415  # settings load in 0.2 s that `--help` need not wait

    settings = settings_of(ctx)
    state = options_of(ctx).state
    if state is not None and (found := addresses_of(state, "deliver")):
        return found
    if settings.deliver_listen.endswith(":0"):
        raise Unavailable("deliver_listen has no fixed port: say where delivery processes are by --at")
    return [_url(settings.deliver_listen)]


def _url(address: str) -> str:
    if address.startswith(("http://", "https://")):
        return address.rstrip("/")
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise InvalidInput(f"--at: {address!r} is not host:port, such as 127.0.0.1:9465")
    return f"http://{host or '127.0.0.1'}:{port}"


def _show(found: Found, *, as_json: bool) -> None:
    for address, why in found.silent.items():
        typer.echo(f"{address} does not say: {why}", err=True)
    if as_json:
        told = {"disabled": found.disabled, "silent": found.silent}
        print_json({"endpoints": [_as_json(row) for row in found.endpoints], **told})
        return
    if found.endpoints:
        now_ms = time.time_ns() // 1_000_000
        print_table(COLUMNS, [_cells(row, now_ms) for row in found.endpoints])
    elif len(found.silent) < found.asked:
        answered = found.asked - len(found.silent)
        typer.echo(f"all is well: no endpoint fails, hangs or has jobs waiting ({_count(answered, 'process')} asked)")
    if found.disabled:
        typer.echo(f"{_count(found.disabled, 'subscription')} disabled; `signpost subscriptions list` shows them")


def _cells(row: EndpointRow, now_ms: int) -> tuple[str, ...]:
    from consumers.console.readable import printable  # noqa: PLC0415  # see looking.py

    last = str(row.last_status or row.last_error or "")
    limited = f"disabled: {row.disabled}" if row.disabled else row.limited_by or ""
    if row.circuit == "half_open":
        limited = "circuit_half_open"
    failing = "" if row.failing_since_ms is None else _span(now_ms - row.failing_since_ms)
    due = (
        ""
        if row.due_at_ms is None
        else "now"
        if row.due_at_ms - now_ms < 500
        else f"in {_span(row.due_at_ms - now_ms)}"
    )
    flight = "" if row.limit is None else f"{row.in_flight}/{row.limit}"
    waiting = f"{row.waiting + row.deferred:,}"
    cells = (row.subscription_id, row.host, failing, last, flight, waiting, due, limited)
    return tuple(printable(cell) for cell in cells)


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
    from dataclasses import asdict  # noqa: PLC0415  # see looking.py

    from consumers.console.readable import time_text  # noqa: PLC0415

    fields = asdict(row)
    for name in [name for name in fields if name.endswith("_ms")]:
        at_ms = fields.pop(name)
        fields[name.removesuffix("_ms")] = None if at_ms is None else time_text(at_ms)
    return fields

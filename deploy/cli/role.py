"""One process of a role: its status is served, signals end it, and it begins anew where an outage left it stranded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias

import typer

from deploy.cli.context import options_of
from schemas.errors import BeginAnew, InvalidInput

if TYPE_CHECKING:
    from consumers.runtime.metrics import RoleMetrics
    from consumers.runtime.status import Page
    from schemas.settings import Settings


Supervised: TypeAlias = Annotated[bool, typer.Option("--supervised", hidden=True, help="Started by `signpost up`.")]


class Role(Protocol):
    """What `<role>_role.py` puts together."""

    @property
    def metrics(self) -> RoleMetrics: ...  # noqa: D102  # the name says it

    @property
    def pages(self) -> Mapping[str, Page]: ...  # noqa: D102  # what else its status server serves

    def why_not_ready(self) -> str | None: ...  # noqa: D102  # for /readyz

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Work until told to stop, asking in every turn; False if something that happened could not be committed."""
        ...


def refuse_slot_of_up(ctx: typer.Context, kind: str, slot: int | None) -> None:
    """Refuse a slot that a running `signpost up` of this state folder has: the two would take it from one another."""
    from deploy.local.state import pids_of  # noqa: PLC0415  # settings load in 0.2 s that `--help` need not wait

    state = options_of(ctx).state
    if slot is None or state is None:
        return
    running = pids_of(state, kind)
    if slot < len(running):
        raise InvalidInput(
            f"--slot {slot}: `signpost up` in {state} runs {kind} on it, and would take it back; give another, such as "
            f"--slot {len(running)}"
        )


def run_role(build: Callable[[Settings, int | None], Role], settings: Settings, slot: int | None, listen: str) -> int:
    """Run a role in this process; return its exit code."""
    from consumers.runtime.signals import Stop  # noqa: PLC0415  # clients load in 0.3 s; --help need not
    from consumers.runtime.status import StatusServer  # noqa: PLC0415
    from deploy.anew import begin_anew  # noqa: PLC0415
    from deploy.logs import configure_logging  # noqa: PLC0415

    configure_logging(settings.log_level, settings.log_format)
    stop = Stop()
    role = build(settings, slot)
    try:
        ready, alive = role.why_not_ready, stop.why_not_alive
        with StatusServer(listen, role.metrics.registry, ready, alive, role.pages) as status:
            code = 0 if role.run(stop, status.address) else 1
    except BeginAnew as error:
        begin_anew(str(error), stop)
        code = 1  # told to end meanwhile
    return code

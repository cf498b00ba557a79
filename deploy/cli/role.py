"""One process of a role: serves its status, drains on signals, and restarts where a Kafka outage requires it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Protocol, TypeAlias

import structlog
import typer
from typer.models import OptionInfo

from consumers.kafka.stuck_clients import STUCK, StuckClients, stuck_clients
from consumers.service.metrics import RoleMetrics
from consumers.service.signals import Stop
from consumers.service.status_server import StatusPage, StatusServer
from deploy.cli.options import options_of
from deploy.config.logs import configure_logging
from deploy.dev.state import pids_of
from deploy.roles.restart import exit_code_of
from schemas.catalog.errors import InvalidInput, RestartRequired, SignpostError
from schemas.settings.settings import Settings

_log = structlog.get_logger("role")

Supervised: TypeAlias = Annotated[bool, typer.Option("--supervised", hidden=True, help="Started by `signpost up`.")]

Listen: TypeAlias = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Address of /metrics, /healthz and /readyz.")
]


def instance_option(processes: str) -> OptionInfo:
    """Return the option --instance of a role; `processes` is what its processes are called, such as `routers`."""
    option: OptionInfo = typer.Option(
        min=0,
        help=f"Number of this process among the {processes}, for `group.instance.id`: with it, a restart keeps the "
        "process's partitions.",
    )
    return option


class Role(Protocol):
    """A process as `<role>_role.py` composes it."""

    @property
    def metrics(self) -> RoleMetrics:
        """Its metrics."""
        ...

    @property
    def pages(self) -> Mapping[str, StatusPage]:
        """Further pages of its status server, by path."""
        ...

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        ...

    def why_not_ready(self) -> str | None:
        """Return why /readyz fails, None if it does not."""
        ...

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Work until `stopping`, which is called in every turn; False if results could not be committed."""
        ...


# Makes a role from settings and the instance's number.
Build: TypeAlias = Callable[[Settings, int | None], Role]


def refuse_instance_of_up(ctx: typer.Context, kind: str, instance: int | None) -> None:
    """Refuse an instance that a running `signpost up` of this state folder runs: the two would fence each other."""
    state = options_of(ctx).state
    if instance is None or state is None:
        return
    running = pids_of(state, kind)
    if instance < len(running):
        raise InvalidInput(
            f"--instance {instance}: `signpost up` in {state} runs this {kind} process; choose another number, such as "
            f"{len(running)}"
        )


def stopping_of(stop: Callable[[], bool], stuck: StuckClients, role: Role) -> Callable[[], bool]:
    """Return the check of each turn of a role: whether to stop. It raises RestartRequired if the clients are stuck.

    A role that has to stop drains, also with stuck clients: what can be committed is.
    """

    def stopping() -> bool:
        if stop():
            return True
        if stuck.are_stuck(time.monotonic(), unanswered=role.unanswered):
            raise RestartRequired(STUCK)
        return False

    return stopping


def run_role(build: Build, settings: Settings, instance: int | None, listen: str) -> int:
    """Run a role in this process; return its exit code."""
    configure_logging(settings.log_level, settings.log_format)
    stop = Stop()
    role = build(settings, instance)
    role.metrics.set_role_start(time.time())
    stuck = stuck_clients(settings.kafka_properties(), [settings.names.subscriptions])

    stopping = stopping_of(stop, stuck, role)

    def run() -> bool:
        with StatusServer(listen, role.metrics.registry, role.why_not_ready, stop.why_not_alive, role.pages) as status:
            return role.run(stopping, status.address)

    try:
        return exit_code_of(run, stop)
    except SignpostError as error:
        # The caller prints a sentence for people. Programs that collect the log look for a line.
        _log.error("role.failed", error=str(error))
        raise

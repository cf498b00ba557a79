"""One process of a role: its status is served, signals end it, and it begins anew where an outage left it stranded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from schemas.errors import BeginAnew

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from consumers.runtime.status import Page
    from schemas.settings import Settings


class Metrics(Protocol):
    """Where a role counts."""

    @property
    def registry(self) -> CollectorRegistry: ...  # noqa: D102  # what /metrics shows


class Role(Protocol):
    """What `<role>_role.py` puts together."""

    @property
    def metrics(self) -> Metrics: ...  # noqa: D102  # the name says it

    @property
    def pages(self) -> Mapping[str, Page]: ...  # noqa: D102  # what else its status server serves

    def why_not_ready(self) -> str | None: ...  # noqa: D102  # for /readyz

    def run(self, stopping: Callable[[], bool], address: str) -> bool:
        """Work until told to stop, asking in every turn; False if something that happened could not be committed."""
        ...


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
        if not stop():
            begin_anew(str(error))
        code = 1
    return code

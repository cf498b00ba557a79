"""A Kafka broker for development: named by the settings, in a container, or in a local JVM."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from deploy.dev.container import ContainerBroker
from deploy.dev.jars import OnProgress
from deploy.dev.jvm import JvmBroker
from schemas.catalog.errors import Unavailable


class _BrokerNode(Protocol):
    """A broker that this process started."""

    @property
    def kind(self) -> Literal["container", "jvm"]: ...
    @property
    def bootstrap_servers(self) -> str: ...
    @property
    def describe(self) -> str: ...
    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...
    @property
    def ended(self) -> str: ...
    def log_tail(self) -> str: ...
    def limit_log(self) -> None: ...
    def save_log(self) -> Path: ...


class Broker:
    """A broker to use. As a context manager it ends the broker that it started, but not one that was given."""

    def __init__(self, bootstrap_servers: str, node: _BrokerNode | None) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.node = node

    @property
    def kind(self) -> Literal["given", "container", "jvm"]:
        """Whether the broker was given, or started in a container or a JVM."""
        return self.node.kind if self.node else "given"

    @property
    def pid(self) -> int:
        """The process id of a local JVM."""
        return self._own().pid

    def is_alive(self) -> bool:
        """Return whether the started broker still runs; always True for a given one."""
        return self.node.is_alive() if self.node else True

    def stop(self) -> None:
        """Stop a broker that was started here (SIGTERM); its data stays."""
        self._own().stop()

    def kill(self) -> None:
        """Kill a broker that was started here (SIGKILL); its data stays."""
        self._own().kill()

    def start(self) -> None:
        """Start a stopped broker again, at the same address with the same data."""
        self._own().start()

    @property
    def describe(self) -> str:
        """One line for people about a broker that was started here: what runs, where, and its data."""
        return self._own().describe

    @property
    def ended(self) -> str:
        """How a broker that was started here ended, such as `was killed by SIGKILL`."""
        return self._own().ended

    def log_tail(self) -> str:
        """Return the last lines of the log of a broker that was started here."""
        return self._own().log_tail()

    def limit_log(self) -> None:
        """Bound the log of a broker that was started here, or do nothing for a given one. Call it periodically."""
        if self.node:
            self.node.limit_log()

    def save_log(self) -> Path:
        """Return a file with the log of a broker that was started here; it outlives temporary data."""
        return self._own().save_log()

    def close(self) -> None:
        """End the broker that was started here; data in a temporary folder is removed."""
        if self.node:
            self.node.close()

    def _own(self) -> _BrokerNode:
        if self.node is None:
            raise Unavailable(f"the broker at {self.bootstrap_servers} was not started here")
        return self.node

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_broker(
    bootstrap_servers: str | None, *, data: Path | None = None, port: int | None = None, on_progress: OnProgress = print
) -> Broker:
    """Return a broker that is ready, except that a given one is not contacted.

    Tried in this order: `bootstrap_servers`; a container; a local JVM. The last two keep their records in `data`, which
    may hold records of an earlier broker, and listen at `port` of 127.0.0.1. `on_progress` gets a line that names the
    broker, and lines while jars are fetched. Unavailable lists the three ways if none is possible.
    """
    if bootstrap_servers:
        on_progress(f"broker: {bootstrap_servers}, named by the settings")
        return Broker(bootstrap_servers, None)
    reasons: list[str] = []
    for node_type in (ContainerBroker, JvmBroker):
        try:
            node: _BrokerNode = node_type(data=data, port=port, on_progress=on_progress)
        except Unavailable as error:
            reasons.append(str(error))
            continue
        no_container = f" (no container: {reasons[0].splitlines()[0]})" if reasons else ""
        on_progress(f"broker: {node.describe}{no_container}")
        return Broker(node.bootstrap_servers, node)
    raise Unavailable(_no_broker(*reasons))


def _no_broker(no_container: str, no_jvm: str) -> str:
    return "\n".join(
        (
            "no Kafka broker is available; there are three ways to provide one:",
            "  1. your own: set SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port, or write it under [kafka] in signpost.toml",
            f"  2. a container of apache/kafka: {no_container}",
            f"  3. a local JVM, with Java 17 or later and Maven: {no_jvm}",
        )
    )

"""A Kafka broker for this machine: the one that the settings name, one in a container, or one on its own Java."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from deploy.dev.container import ContainerBroker
from deploy.dev.jars import Say
from deploy.dev.jvm import JvmBroker
from schemas.catalog.errors import Unavailable


class _Node(Protocol):
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
    def log_tail(self) -> str: ...


class Broker:
    """A broker to use: a context manager that ends what it started, and nothing else."""

    def __init__(self, bootstrap_servers: str, node: _Node | None) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.node = node

    @property
    def kind(self) -> Literal["given", "container", "jvm"]:
        """Tell which of the three ways was taken."""
        return self.node.kind if self.node else "given"

    @property
    def pid(self) -> int:
        """Return the process id of a local JVM."""
        return self._own().pid

    def is_alive(self) -> bool:
        """Tell whether the broker that was started still runs; a given one is taken to."""
        return self.node.is_alive() if self.node else True

    def stop(self) -> None:
        """Stop a broker that was started here, in order; its data stays."""
        self._own().stop()

    def kill(self) -> None:
        """End a broker that was started here at once (SIGKILL); its data stays."""
        self._own().kill()

    def start(self) -> None:
        """Start a stopped broker again, at the same address with the same data."""
        self._own().start()

    def log_tail(self) -> str:
        """Return the last lines of the log of a broker that was started here."""
        return self._own().log_tail()

    def close(self) -> None:
        """End what was started here; data in no given folder is removed."""
        if self.node:
            self.node.close()

    def _own(self) -> _Node:
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
    bootstrap_servers: str | None, *, data: Path | None = None, port: int | None = None, say: Say = print
) -> Broker:
    """Return a broker that answers; `say` gets one line on which way was taken, and progress while jars are fetched.

    In this order: `bootstrap_servers` where given (taken as they are, not asked); a container; a local JVM. `data`
    keeps the records of the last two (used again when it already holds some), `port` is theirs at 127.0.0.1.
    Unavailable names the three ways where none is possible.
    """
    if bootstrap_servers:
        say(f"broker: {bootstrap_servers}, named by the settings")
        return Broker(bootstrap_servers, None)
    reasons: list[str] = []
    for way in (ContainerBroker, JvmBroker):
        try:
            node: _Node = way(data=data, port=port, say=say)
        except Unavailable as error:
            reasons.append(str(error))
            continue
        missed = f" (no container: {reasons[0].splitlines()[0]})" if reasons else ""
        say(f"broker: {node.describe}{missed}")
        return Broker(node.bootstrap_servers, node)
    raise Unavailable(_no_broker(*reasons))


def _no_broker(no_container: str, no_jvm: str) -> str:
    return "\n".join(
        (
            "no Kafka broker could be had; there are three ways, make one of them possible:",
            "  1. name one: set SIGNPOST_KAFKA_BOOTSTRAP_SERVERS=host:port, or write it under [kafka] in signpost.toml",
            f"  2. a container of apache/kafka: {no_container}",
            f"  3. a local JVM, with Java 17 or later and Maven: {no_jvm}",
        )
    )

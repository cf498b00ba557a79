"""Kafka in a container. Needs a Docker daemon on this machine that responds, and the image.

The container runs Kafka with the same properties as the local JVM, as the current user, in the mounted data folder. So
container and JVM can read each other's files, and the user can remove them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from deploy.dev import broker_log, kafka, parent_bound
from deploy.dev.jars import KAFKA_VERSION, OnProgress
from deploy.dev.local_broker import LocalBroker
from deploy.dev.log_files import MAX_LOG
from schemas.catalog.errors import Unavailable

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
_CONNECT_S: Final = 2
# A stalled pull and an unreachable registry fail after this time.
_PULL_S: Final = 10
_CALL_S: Final = 60
_READY_S: Final = 90.0
_STOP_S: Final = 15
_LOG_LINES: Final = 30
# Two files of the size of MAX_LOG. Without a limit, Docker keeps everything that a container prints.
_LOG_CONFIG: Final = {"type": "json-file", "config": {"max-size": f"{MAX_LOG // 2**20}m", "max-file": "2"}}
_INSIDE: Final = "/signpost"
_PORT: Final = 9092
_RUN: Final = (
    "[ -f kafka/meta.properties ] || /opt/kafka/bin/kafka-storage.sh format --ignore-formatted"
    " -t {cluster_id} -c server.properties || exit 1;"
    " exec /opt/kafka/bin/kafka-server-start.sh server.properties"
)


class ContainerBroker(LocalBroker):
    """A Kafka node in a container. After `stop()` it can be started again with the same port and data."""

    kind: Literal["container"] = "container"

    def __init__(self, *, data: Path | None, port: int | None, on_progress: OnProgress) -> None:
        self._docker = _new_container()
        super().__init__(data)
        self._name = f"signpost-kafka-{uuid4().hex[:12]}"
        self._keeper: parent_bound.ChildProcess | None = None
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            _pull_missing(self._docker, on_progress)
            on_progress("broker: starting Kafka in a container")
            self.port = kafka.choose_port(self.data, port)
            self._run()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Raises Unavailable: the container belongs to the daemon."""
        raise Unavailable("a broker in a container has no process id on this machine")

    @property
    def describe(self) -> str:
        """One line for people: what runs, where, and its data."""
        return f"container {self._name} of {IMAGE} at {self.bootstrap_servers} ({self._data_text})"

    def is_alive(self) -> bool:
        """Return whether the container runs."""
        with _translated("the container's state cannot be read"):
            self._docker.reload()
            return self._docker.status == "running"

    def start(self) -> None:
        """Start it again after `stop()`, and wait until it is ready."""
        with _translated("the container cannot be started"):
            self._docker.get_wrapped_container().start()
        self._wait()

    def stop(self) -> None:
        """Stop it with SIGTERM and wait until it has ended."""
        with _translated("the container cannot be stopped"):
            self._docker.get_wrapped_container().stop(timeout=_STOP_S)

    def kill(self) -> None:
        """Kill it (SIGKILL); `start()` starts it again with the same data."""
        with _translated("the container cannot be killed"):
            self._docker.get_wrapped_container().kill()
            self._docker.wait()

    def log_tail(self) -> str:
        """Return the last lines of the container's output."""
        with _translated("the container's log cannot be read"):
            return str(self._docker.get_wrapped_container().logs(tail=_LOG_LINES).decode(errors="replace"))

    @property
    def ended(self) -> str:
        """How the container ended; Docker keeps no more than its exit code."""
        with _translated("the container's state cannot be read"):
            container = self._docker.get_wrapped_container()
            container.reload()
            return f"exited with code {container.attrs['State']['ExitCode']}"

    def limit_log(self) -> None:
        """Do nothing: Docker bounds the log by itself."""

    def save_log(self) -> Path:
        """Return a file with the container's output; it outlives temporary data and the container."""
        with _translated("the container's log cannot be read"):
            return broker_log.save(self._docker.get_wrapped_container().logs())

    def close(self) -> None:
        """End and remove it; temporary data is removed."""
        with contextlib.suppress(Unavailable):
            if not self._temporary and self._docker.status != "not_started":
                self.stop()
            with _translated("the container cannot be removed"):
                self._docker.stop()
        if self._keeper is not None:
            self._keeper.kill()
        self._remove_temporary_data()

    def _run(self) -> None:
        text = kafka.properties(
            listen=f"0.0.0.0:{_PORT}", controller="127.0.0.1:9093", advertised=self.bootstrap_servers
        )
        (self.data / kafka.PROPERTIES).write_text(text, encoding="ascii")
        (
            self._docker.with_name(self._name)
            .with_command(["-c", _RUN.format(cluster_id=kafka.new_cluster_id())])
            .with_volume_mapping(self.data, _INSIDE, "rw,z")
            .with_envs(KAFKA_HEAP_OPTS=kafka.heap_options(), LOG_DIR="/tmp")
            .with_kwargs(
                entrypoint="/bin/sh",
                working_dir=_INSIDE,
                user=f"{os.getuid()}:{os.getgid()}",
                log_config=_LOG_CONFIG,
            )
        )
        # with_bind_ports() takes no address: the port would be open on all of them.
        ports: dict[str, Any] = self._docker.ports  # docker-py takes an address as well
        ports[f"{_PORT}/tcp"] = ("127.0.0.1", self.port)
        self._keeper = _start_keeper(self._name, self.data if self._temporary else None)
        with _translated(f"a container of {IMAGE} does not start"):
            self._docker.start()
        self._wait()

    def _wait(self) -> None:
        if not kafka.wait_until_ready(self.port, self.data, self.is_alive, _READY_S):
            raise Unavailable(f"a container of {IMAGE} exited during start-up; the end of its log:\n{self.log_tail()}")


def refusal() -> str | None:
    """Return why no container can run on this machine, None if one can. Pulls the image."""
    try:
        container = _new_container()
        try:
            _pull_missing(container, lambda line: None)
        finally:
            container.stop()
    except Unavailable as error:
        return str(error)
    return None


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn errors of testcontainers, docker-py, requests and urllib3 into Unavailable."""
    from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415  # no types; optional
    from requests.exceptions import RequestException  # noqa: PLC0415  # docker-py installs it and urllib3
    from testcontainers.core.exceptions import ContainerStartException  # noqa: PLC0415  # optional
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  # as above

    try:
        yield
    except (ContainerStartException, DockerException, RequestException, HTTPError) as error:
        raise Unavailable(f"{what}: {error}") from error


def _new_container() -> DockerContainer:
    """Return a container that is not started yet; Unavailable within a few seconds if no daemon responds."""
    try:
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415  # optional
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415  # optional
        from testcontainers.core.docker_client import get_docker_host  # noqa: PLC0415  # optional
    except ImportError as error:
        raise Unavailable("testcontainers is not installed (the extra `local`)") from error
    host = get_docker_host() or "unix://"
    if not host.startswith("unix://"):
        raise Unavailable(f"the Docker daemon at {host} is not on this machine")
    if not (socket := Path(host.removeprefix("unix://") or "/var/run/docker.sock")).exists():
        raise Unavailable(f"no Docker daemon: {socket} does not exist")
    # The reaper of testcontainers needs a second image, opens a port on all addresses, and keeps the data folder.
    testcontainers_config.ryuk_disabled = True
    with _translated("no Docker daemon responds"):
        container = DockerContainer(IMAGE, docker_client_kw={"timeout": _CONNECT_S})
    container.get_docker_client().client.api.timeout = _CALL_S
    return container


def _pull_missing(container: DockerContainer, on_progress: OnProgress) -> None:
    """Pull the image if it is missing; Unavailable if that fails."""
    from docker.errors import ImageNotFound  # noqa: PLC0415  # optional

    client = container.get_docker_client().client
    with _translated(f"the image {container.image} cannot be pulled"):
        try:
            client.images.get(container.image)
        except ImageNotFound:
            on_progress(f"pulling the image {container.image} (once)")
            client.api.timeout = _PULL_S
            client.images.pull(container.image)
            client.api.timeout = _CALL_S


def _start_keeper(name: str, remove: Path | None) -> parent_bound.ChildProcess:
    """Start a child process that removes the container when this process dies: the container is the daemon's child."""
    keeper = parent_bound.start(
        [sys.executable, "-m", "deploy.dev.container", name],
        stdout=subprocess.PIPE,
        on_parent_death=signal.SIGTERM,
        grace=timedelta(seconds=60),
        remove=remove,
    )
    assert keeper.output is not None
    with keeper.output as output:
        output.readline()  # from now on the keeper waits for its signal
    return keeper


def _keep(name: str) -> None:
    """Wait for SIGTERM, which is sent when the parent dies, and remove the container."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    with _translated("the container cannot be removed"):
        _new_container().get_docker_client().client.containers.get(name).remove(force=True, v=True)


if __name__ == "__main__":
    _keep(sys.argv[1])

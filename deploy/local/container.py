"""Kafka in a container, where a Docker daemon of this machine answers and the image can be had.

The container runs Kafka from the image with the same properties as the local JVM, in the same data folder (mounted),
as this user: files of either way are readable by the other, and can be removed by whoever made them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from deploy.local import kafka, tether
from deploy.local.jars import KAFKA_VERSION, Say
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from testcontainers.core.docker_client import DockerClient

IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
_ANSWER_S: Final = 2
# A registry that cannot be reached is found out within this time; a pull that stands still is given up after it.
_REGISTRY_S: Final = 10
_READY_S: Final = 90.0
_LOG_LINES: Final = 30
_INSIDE: Final = "/signpost"
_PORT: Final = 9092
_RUN: Final = (
    "[ -f kafka/meta.properties ] || /opt/kafka/bin/kafka-storage.sh format --ignore-formatted"
    " -t {cluster_id} -c server.properties || exit 1;"
    " exec /opt/kafka/bin/kafka-server-start.sh server.properties"
)


class ContainerBroker:
    """A Kafka node in a container. Stopped by `stop()` it can be started again: same port, same data."""

    kind: Literal["container"] = "container"

    def __init__(self, *, data: Path | None, port: int | None, say: Say) -> None:
        self._client = _connect()
        self._container: Any = None  # docker-py ships no types
        self._keeper: tether.Tethered | None = None
        self._temporary = data is None
        self.data = data.absolute() if data else Path(tempfile.mkdtemp(prefix="signpost-kafka-"))
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            _have_image(self._client, say)
            say("broker: starting Kafka in a container")
            self.port = kafka.choose_port(self.data, port)
            self._run()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """Return `127.0.0.1:<port>`."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Raise Unavailable: a container's process is the daemon's."""
        raise Unavailable("a broker in a container has no process of this machine")

    @property
    def describe(self) -> str:
        """Return one line for people."""
        where = "temporary data" if self._temporary else f"data in {self.data}"
        return f"container {self._own().name} of {IMAGE} at {self.bootstrap_servers} ({where})"

    def is_alive(self) -> bool:
        """Tell whether the container runs."""
        with _translated("the container cannot be asked"):
            container = self._own()
            container.reload()
            return bool(container.status == "running")

    def start(self) -> None:
        """Start it again after `stop()`, and wait until it answers."""
        with _translated("the container cannot be started"):
            self._own().start()
        self._wait()

    def stop(self) -> None:
        """Stop it as an operator would (SIGTERM), and wait for its end."""
        with _translated("the container cannot be stopped"):
            self._own().stop(timeout=15)

    def kill(self) -> None:
        """End it at once (SIGKILL); `start()` brings it back with the same data."""
        with _translated("the container cannot be killed"):
            self._own().kill()
            self._own().wait()

    def log_tail(self) -> str:
        """Return the last lines that the container has printed."""
        with _translated("the container cannot be asked"):
            return str(self._own().logs(tail=_LOG_LINES).decode(errors="replace"))

    def close(self) -> None:
        """End it for good; temporary data is removed."""
        if self._container is not None:
            with contextlib.suppress(Unavailable), _translated("the container cannot be removed"):
                if not self._temporary:
                    self._container.stop(timeout=15)
                self._container.remove(force=True, v=True)
            self._container = None
        if self._keeper is not None:
            self._keeper.kill()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)
        self._client.client.close()

    def _own(self) -> Any:
        if self._container is None:
            raise Unavailable("the broker's container was removed")
        return self._container

    def _run(self) -> None:
        text = kafka.properties(
            listen=f"0.0.0.0:{_PORT}", controller="127.0.0.1:9093", advertised=self.bootstrap_servers
        )
        (self.data / kafka.PROPERTIES).write_text(text, encoding="ascii")
        name = f"signpost-kafka-{uuid4().hex[:12]}"
        self._keeper = _start_keeper(name, self.data if self._temporary else None)
        with _translated(f"a container of {IMAGE} does not start"):
            self._container = self._client.run(
                IMAGE,
                ["-c", _RUN.format(cluster_id=kafka.new_cluster_id())],
                name=name,
                detach=True,
                entrypoint="/bin/sh",
                working_dir=_INSIDE,
                user=f"{os.getuid()}:{os.getgid()}",
                ports={f"{_PORT}/tcp": ("127.0.0.1", self.port)},
                volumes={str(self.data): {"bind": _INSIDE, "mode": "rw,z"}},
                environment={"KAFKA_HEAP_OPTS": kafka.heap_options(), "LOG_DIR": "/tmp"},
            )
        self._wait()

    def _wait(self) -> None:
        if not kafka.wait_until_ready(self.port, self.data, self.is_alive, _READY_S):
            raise Unavailable(f"a container of {IMAGE} ended while it started; the end of its log:\n{self.log_tail()}")


def refusal() -> str | None:
    """Return why no container can be had on this machine, or None where one can; the image is pulled for that."""
    try:
        client = _connect()
        try:
            _have_image(client, lambda line: None)
        finally:
            client.client.close()
    except Unavailable as error:
        return str(error)
    return None


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn what docker-py and requests raise into Unavailable."""
    from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415  # no types; optional
    from requests.exceptions import RequestException  # noqa: PLC0415  # comes with docker-py, as does urllib3
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except (DockerException, RequestException, HTTPError) as error:
        raise Unavailable(f"{what}: {error}") from error


def _connect() -> DockerClient:
    """Return a client of a daemon that answered; Unavailable within a few seconds where none does."""
    try:
        from testcontainers.core.docker_client import DockerClient, get_docker_host  # noqa: PLC0415  # optional
    except ImportError as error:
        raise Unavailable("testcontainers is not installed (the extra `local`)") from error
    host = get_docker_host() or os.environ.get("DOCKER_HOST") or "unix://"
    if not host.startswith("unix://"):
        raise Unavailable(f"the Docker daemon at {host} is not on this machine")
    socket = Path(host.removeprefix("unix://") or "/var/run/docker.sock")
    if not socket.exists():
        raise Unavailable(f"no Docker daemon: there is no {socket}")
    with _translated("no Docker daemon answers"):
        client = DockerClient(timeout=_ANSWER_S)
        client.client.ping()
    # Long calls from here on: a stop takes its time.
    client.client.api.timeout = 60
    return client


def _have_image(client: DockerClient, say: Say) -> None:
    """Have the image, pulled where it is not here; Unavailable where it cannot be had."""
    from docker.errors import ImageNotFound  # noqa: PLC0415  # optional

    with _translated(f"the image {IMAGE} cannot be had"):
        try:
            client.client.images.get(IMAGE)
        except ImageNotFound:
            client.client.api.timeout = _REGISTRY_S
            client.client.images.get_registry_data(IMAGE)
            say(f"pulling the image {IMAGE} (once)")
            _pull(client.client.api)
            client.client.api.timeout = 60


def _pull(api: Any) -> None:
    name, tag = IMAGE.split(":")
    for step in api.pull(name, tag=tag, stream=True, decode=True):
        if "error" in step:
            raise Unavailable(f"the image {IMAGE} cannot be had: {step['error']}")


def _start_keeper(name: str, remove: Path | None) -> tether.Tethered:
    """Start a process that removes the container `name` when this one is gone: a container is the daemon's child."""
    keeper = tether.start(
        [sys.executable, "-m", "deploy.local.container", name],
        stdout=subprocess.PIPE,
        on_parent_death=signal.SIGTERM,
        grace=timedelta(seconds=60),
        remove=remove,
    )
    assert keeper.output is not None
    with keeper.output as output:
        output.readline()  # from now on it is there for it
    return keeper


def _keep(name: str) -> None:
    """Wait for SIGTERM, which comes when the parent is gone, and remove the container."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print("ready", flush=True)
    ended.wait()
    client = _connect()
    with _translated("the container cannot be removed"):
        client.client.containers.get(name).remove(force=True, v=True)


if __name__ == "__main__":
    _keep(sys.argv[1])

"""A real schema registry for tests: Apicurio, run with the Java of this machine, has Confluent's REST API."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from deploy.dev import parent_bound
from deploy.dev.jars import cache_folder
from tests.support.roles import free_port
from tests.support.waiting import wait_until

_VERSION: Final = "2.6.13.Final"
_ARTIFACT: Final = f"io.apicurio:apicurio-registry-app:{_VERSION}:tar.gz:all"
_RUNNER: Final = f"apicurio-registry-app-{_VERSION}-runner.jar"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_FETCH_S: Final = 300


class Apicurio:
    """A running registry that keeps its schemas in memory."""

    def __init__(self, process: parent_bound.ChildProcess, port: int) -> None:
        self._process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}/apis/ccompat/v7"

    def stand_still(self) -> None:
        """Suspend the process: it does not respond until `go_on`."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume the process."""
        self._process.send_signal(signal.SIGCONT)

    def is_ready(self) -> bool:
        """Return whether it responds."""
        assert self._process.poll() is None, "the registry has ended"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/apis/ccompat/v7/subjects")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


@contextmanager
def running_apicurio() -> Iterator[Apicurio]:
    """Run a registry; skip the test with the reason if this machine cannot run one."""
    folder = _program()
    port = free_port()
    environment = os.environ | {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port)}
    with tempfile.TemporaryFile() as log:
        process = parent_bound.start(
            ["java", "-Xmx256m", "-jar", str(folder / _RUNNER)], env=environment, cwd=folder, stdout=log, stderr=log
        )
        registry = Apicurio(process, port)
        try:
            wait_until(registry.is_ready, what="the schema registry is ready")
            yield registry
        finally:
            process.kill()


def _program() -> Path:
    """Return the folder of the registry, which Maven fetches once, next to Kafka's jars."""
    if shutil.which("java") is None:
        pytest.skip("missing: Java 17 (`java`), for a schema registry")
    folder = cache_folder().with_name(f"apicurio-{_VERSION}")
    if (folder / _RUNNER).is_file():
        return folder
    if shutil.which("mvn") is None:
        pytest.skip(f"missing: Maven (`mvn`), to fetch {_ARTIFACT}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".apicurio.") as fresh:
        command = ["mvn", "--batch-mode", "--quiet", _COPY, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={fresh}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_FETCH_S)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"missing: {_ARTIFACT}, which Maven could not fetch ({type(error).__name__})")
        with tarfile.open(Path(fresh) / f"apicurio-registry-app-{_VERSION}-all.tar.gz") as archive:
            archive.extractall(Path(fresh) / "program", filter="data")
        (Path(fresh) / "program").rename(folder)
    return folder

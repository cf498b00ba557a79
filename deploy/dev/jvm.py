"""Kafka on this machine's own Java: one node, 127.0.0.1 only, ended with its parent."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from deploy.dev import kafka
from deploy.dev import parent_bound as tether
from deploy.dev.jars import KAFKA_VERSION, Say, kafka_jars
from schemas.catalog.errors import Unavailable

_OLDEST_JAVA: Final = 17
# The serial collector starts fastest and needs no threads of its own; the heap's options are of size only.
_JVM_OPTIONS: Final = ("-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_LOG: Final = "kafka.log"
_LOG_LINES: Final = 30
_READY_S: Final = 90.0  # 3 s on a quiet machine
_STOP: Final = timedelta(seconds=15)
_TRIES: Final = 3  # a free port can be taken between the look and the start


def find_java(environment: Mapping[str, str] = os.environ) -> str:
    """Return a java of version 17 or later, from JAVA_HOME or the PATH; Unavailable says what is wrong."""
    home = environment.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else environment.get("PATH"))
    if found is None:
        raise Unavailable(f"no java in {Path(home) / 'bin'} (JAVA_HOME)" if home else "no java on the PATH")
    try:
        answer = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        # macOS has a /usr/bin/java that only says where to get one.
        raise Unavailable(f"{found} does not run: {error}") from error
    version = re.search(r'version "(?:1\.)?(\d+)', answer)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        first_line = answer.strip().splitlines()[0] if answer.strip() else "it names no version"
        raise Unavailable(f"{found} is too old: Kafka needs Java {_OLDEST_JAVA} or later ({first_line})")
    return found


class JvmBroker:
    """A Kafka node in a JVM of its own. Stopped by `stop()` it can be started again: same port, same data."""

    kind: Literal["jvm"] = "jvm"

    def __init__(self, *, data: Path | None, port: int | None, say: Say) -> None:
        self._java = find_java()
        self._jars = kafka_jars(say)
        self._temporary = data is None
        self.data = data.absolute() if data else Path(tempfile.mkdtemp(prefix="signpost-kafka-"))
        self._process: tether.Tethered | None = None
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            say("broker: starting Kafka on the Java of this machine")
            self.port = self._start_somewhere(port)
        except BaseException:
            self.kill()  # a broker that is told to end while it starts takes its time
            self.close()
            raise

    @property
    def bootstrap_servers(self) -> str:
        """Return `127.0.0.1:<port>`."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process id of the running JVM; Unavailable while it is stopped."""
        if self._process is None:
            raise Unavailable("the broker is stopped")
        return self._process.pid

    @property
    def describe(self) -> str:
        """Return one line for people."""
        where = "temporary data" if self._temporary else f"data in {self.data}"
        return (
            f"Kafka {KAFKA_VERSION} on the Java of this machine at {self.bootstrap_servers} (pid {self.pid}, {where})"
        )

    def start(self) -> None:
        """Start it again after `stop()`, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        if not self._launch(self.port):
            raise Unavailable(self._obituary())

    def stop(self) -> None:
        """Stop it as an operator would (SIGTERM), and wait for its end."""
        if self._process is not None:
            self._process.stop(_STOP)
            self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL); `start()` brings it back with the same data."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def is_alive(self) -> bool:
        """Tell whether the JVM runs."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it for good; temporary data is removed."""
        if self._temporary:
            self.kill()  # nothing is worth an orderly shutdown
            shutil.rmtree(self.data, ignore_errors=True)
        else:
            self.stop()

    def log_tail(self) -> str:
        """Return the last lines of the JVM's log."""
        return "\n".join(self._log_text().splitlines()[-_LOG_LINES:])

    def _log_text(self) -> str:
        try:
            return (self.data / _LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _start_somewhere(self, port: int | None) -> int:
        """Start at `port`, or at the port of the last time, or at a free one; return the port."""
        for attempt in range(_TRIES):
            chosen = kafka.free_port() if attempt else kafka.choose_port(self.data, port)
            if self._launch(chosen):
                return chosen
            # Above the many lines of its shutdown.
            if "BindException" not in self._log_text() or port:
                break
        raise Unavailable(self._obituary())

    def _launch(self, port: int) -> bool:
        """Run the JVM and wait until it answers; False when it died before."""
        controller = f"127.0.0.1:{kafka.free_port()}"
        address = f"127.0.0.1:{port}"
        text = kafka.properties(listen=address, controller=controller, advertised=address)
        (self.data / kafka.PROPERTIES).write_text(text, encoding="ascii")
        if not kafka.is_formatted(self.data):
            self._format()
        with (self.data / _LOG).open("ab") as log:
            self._process = tether.start(
                self._command("kafka.Kafka", kafka.PROPERTIES),
                cwd=self.data,
                stdout=log,
                stderr=log,
                on_parent_death=signal.SIGKILL if self._temporary else signal.SIGTERM,
                grace=_STOP,
                remove=self.data if self._temporary else None,
            )
        return kafka.wait_until_ready(port, self.data, self.is_alive, _READY_S)

    def _format(self) -> None:
        arguments = ["format", "--ignore-formatted", "-t", kafka.new_cluster_id(), "-c", kafka.PROPERTIES]
        command = self._command("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, cwd=self.data, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(
                f"Kafka's storage in {self.data} could not be formatted: {(done.stderr or done.stdout).strip()}"
            )

    def _command(self, *arguments: str) -> list[str]:
        return [self._java, *_JVM_OPTIONS, *kafka.heap_options().split(), "-cp", f"{self._jars}/*", *arguments]

    def _obituary(self) -> str:
        lines = [line for line in self._log_text().splitlines() if " INFO " not in line] or [self.log_tail()]
        told = "\n".join(lines[-_LOG_LINES:])
        return f"Kafka ended while it started; the end of its log ({self.data / _LOG}):\n{told}"

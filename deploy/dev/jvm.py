"""Kafka in a local JVM: one node, on 127.0.0.1 only, that ends with its parent."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from deploy.dev import broker_log, class_archive, kafka, parent_bound
from deploy.dev.jars import KAFKA_VERSION, OnProgress, kafka_jars
from deploy.dev.local_broker import LocalBroker
from deploy.dev.log_files import MAX_LOG, previous, rotate
from schemas.catalog.errors import Unavailable

_OLDEST_JAVA: Final = 17
# The serial collector starts fastest and needs no threads of its own.
_JVM_OPTIONS: Final = ("-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_LOG: Final = "kafka.log"
_LOG_LINES: Final = 30
_READY_S: Final = 90.0
_STOP: Final = timedelta(seconds=15)
_STOP_RECORDING: Final = timedelta(seconds=60)
# Signals that end a JVM after an error of its own.
_CRASHES: Final = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV})
_TRIES: Final = 3  # another process can take the port between the check and the start


def find_java(environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of Java 17 or later, from JAVA_HOME or the PATH; Unavailable if there is none."""
    home = environment.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else environment.get("PATH"))
    if found is None:
        raise Unavailable(f"no java in {Path(home) / 'bin'} (JAVA_HOME)" if home else "no java on the PATH")
    output = _version_text(found)
    version = re.search(r'version "(?:1\.)?(\d+)', output)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        first_line = output.strip().splitlines()[0] if output.strip() else "it prints no version"
        raise Unavailable(f"{found} is too old: Kafka needs Java {_OLDEST_JAVA} or later ({first_line})")
    return found


def _version_text(java: str) -> str:
    try:
        return subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        # macOS has a /usr/bin/java that only explains where to get Java.
        raise Unavailable(f"{java} does not run: {error}") from error


class JvmBroker(LocalBroker):
    """A Kafka node in its own JVM. After `stop()` it can be started again with the same port and data."""

    kind: Literal["jvm"] = "jvm"

    def __init__(
        self, *, data: Path | None, port: int | None, on_progress: OnProgress, record_to: Path | None = None
    ) -> None:
        """Start a broker. `record_to`: write an archive of its classes to this path when it is stopped."""
        self._java = find_java()
        self._jars = kafka_jars(on_progress)
        self._record_to = record_to
        self._archive: Path | None = None
        if record_to is None:
            java = _version_text(self._java)
            self._archive = class_archive.find_or_record(java, self._jars, _record_classes, on_progress)
        super().__init__(data)
        self._process: parent_bound.ChildProcess | None = None
        self._log_begins = 0  # offset in the log where the present JVM began to write
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self._keep_previous_log()
            on_progress("broker: starting Kafka on the Java of this machine")
            self.port = self._start_somewhere(port)
        except BaseException:
            self.kill()  # a starting broker reacts slowly to SIGTERM
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the running JVM; Unavailable while it is stopped."""
        if self._process is None:
            raise Unavailable("the broker is stopped")
        return self._process.pid

    @property
    def describe(self) -> str:
        """One line for people: what runs, where, and its data."""
        return (
            f"Kafka {KAFKA_VERSION} on the Java of this machine at {self.bootstrap_servers} "
            f"(pid {self.pid}, {self._data_text})"
        )

    def start(self) -> None:
        """Start it again after `stop()`, and wait until it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        if not self._launch(self.port):
            raise Unavailable(self._start_failure())

    def stop(self) -> None:
        """Stop it with SIGTERM and wait until it has ended."""
        if self._process is not None:
            self._process.stop(_STOP if self._record_to is None else _STOP_RECORDING)
            self._process = None

    def kill(self) -> None:
        """Kill it (SIGKILL); `start()` starts it again with the same data."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def is_alive(self) -> bool:
        """Return whether the JVM runs."""
        process = self._process  # another thread may kill it
        return process is not None and process.poll() is None

    @property
    def ended(self) -> str:
        """How the JVM ended."""
        code = self._exit_code()
        return "is stopped" if code is None else parent_bound.exit_text(code)

    def close(self) -> None:
        """End it; temporary data is removed."""
        if self._temporary:
            self.kill()  # temporary data needs no orderly shutdown
        else:
            self.stop()
        self._remove_temporary_data()

    def log_tail(self) -> str:
        """Return the last lines of the JVM's log."""
        return "\n".join(self._log_text().splitlines()[-_LOG_LINES:])

    def limit_log(self, max_bytes: int = MAX_LOG) -> None:
        """Move what the JVM has logged to `kafka.log.1` if it is more than `max_bytes`. Call it periodically."""
        if rotate(self.data / _LOG, max_bytes):
            self._log_begins = 0

    def save_log(self) -> Path:
        """Return a file with the JVM's log; it outlives temporary data."""
        log = self.data / _LOG
        return broker_log.save(log.read_bytes()) if self._temporary and log.exists() else log

    def _keep_previous_log(self) -> None:
        """Begin a new log, and keep only that of the previous broker in this folder."""
        log = self.data / _LOG
        if log.exists():
            log.replace(previous(log))

    def _log_text(self) -> str:
        """Return what the JVM has logged since its last start."""
        try:
            with (self.data / _LOG).open("rb") as log:
                log.seek(self._log_begins)
                return log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _start_somewhere(self, port: int | None) -> int:
        """Start at `port`, at the previous port, or at a free one; return the port."""
        for attempt in range(_TRIES):
            chosen = kafka.free_port() if attempt else kafka.choose_port(self.data, port)
            if self._launch(chosen):
                return chosen
            # The whole log: many lines of the shutdown follow the exception.
            if "BindException" not in self._log_text() or port:
                break
        raise Unavailable(self._start_failure())

    def _launch(self, port: int) -> bool:
        """Start the JVM and wait until it is ready; False if it died first."""
        if self._launch_once(port):
            return True
        if not self._drop_archive(self._exit_code()):
            return False
        return self._launch_once(port)

    def _drop_archive(self, exit_code: int | None) -> bool:
        """Remove the archive of classes if a JVM with it crashed; return whether that was so.

        Java checks the head of an archive only, and a damaged one crashes it.
        """
        if self._archive is None or exit_code is None or -exit_code not in _CRASHES:
            return False
        with contextlib.suppress(OSError):
            self._archive.unlink()
        self._archive = None
        return True

    def _exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def _launch_once(self, port: int) -> bool:
        controller = f"127.0.0.1:{kafka.free_port()}"
        address = f"127.0.0.1:{port}"
        text = kafka.properties(listen=address, controller=controller, advertised=address)
        (self.data / kafka.PROPERTIES).write_text(text, encoding="ascii")
        if not kafka.is_formatted(self.data):
            self._format()
        with (self.data / _LOG).open("ab") as log:
            self._log_begins = log.tell()
            self._process = parent_bound.start(
                self._command("kafka.Kafka", kafka.PROPERTIES, record_to=self._record_to),
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
        completed = self._run_tool("kafka.tools.StorageTool", *arguments)
        if self._drop_archive(completed.returncode):
            completed = self._run_tool("kafka.tools.StorageTool", *arguments)
        if completed.returncode != 0:
            reason = broker_log.reason_in(completed.stdout + completed.stderr)
            raise Unavailable(f"Kafka's storage in {self.data} cannot be formatted: {reason}")

    def _run_tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), cwd=self.data, capture_output=True, text=True, check=False)

    def _command(self, *arguments: str, record_to: Path | None = None) -> list[str]:
        archive = class_archive.options(self._archive, record_to)
        heap = kafka.heap_options().split()
        return [self._java, *_JVM_OPTIONS, *archive, *heap, "-cp", f"{self._jars}/*", *arguments]

    def _start_failure(self) -> str:
        reason = broker_log.reason_in(self._log_text())
        return f"Kafka {self.ended} during start-up: {reason} (log: {self.save_log()})"


def _record_classes(archive: Path) -> None:
    """Run a broker once, which writes its classes to `archive` when it ends."""
    broker = JvmBroker(data=None, port=None, on_progress=lambda line: None, record_to=archive)
    try:
        broker.stop()
    finally:
        broker.close()

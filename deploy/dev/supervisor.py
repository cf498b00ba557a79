"""Supervisor of role processes: restarts them when they die, drains them together, ends them with this process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from deploy.dev import parent_bound
from deploy.dev.addresses import LOOPBACK, join, reachable
from deploy.dev.kafka import free_port
from deploy.dev.log_files import rotate
from schemas.catalog.errors import Unavailable

# Pause before a restart. It doubles up to the maximum while the role keeps dying soon after its start.
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_STABLE_AFTER_S: Final = 10.0
# Deaths of a role before all are ready that make the start fail.
_DEATHS_AT_START: Final = 3
_INVALID: Final = 2  # exit code for invalid input: a restart would not help
_END_OF_LOG: Final = 4096
_CHECK_LOGS_S: Final = 5.0


@dataclass(slots=True)
class RoleProcess:
    """One supervised process: `signpost <kind> --instance <instance>`.

    Its status server listens at `host` and `port`. A `movable` one may get another port if its own may be taken.
    """

    kind: str
    instance: int
    host: str = LOOPBACK
    port: int = field(default_factory=free_port)
    movable: bool = True
    process: parent_bound.ChildProcess | None = None
    started_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    restart_s: float | None = None
    deaths: int = 0
    log_begins: int = 0  # offset in the log file where the current process began to write

    @property
    def name(self) -> str:
        """The name in output: the kind, and the instance unless that is 0."""
        return self.kind if self.instance == 0 else f"{self.kind}-{self.instance}"

    @property
    def address(self) -> str:
        """The URL of its status server."""
        return f"http://{join(reachable(self.host), self.port)}"

    def is_ready(self) -> bool:
        """Return whether /readyz responds 200."""
        connection = http.client.HTTPConnection(reachable(self.host), self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Supervisor:
    """Runs roles with the settings of a state folder and of `config`. `on_progress` gets a line for each restart.

    `extra` are settings with the highest precedence.
    """

    def __init__(
        self,
        state: Path,
        config: Path | None,
        roles: Sequence[RoleProcess],
        *,
        drain: timedelta,
        on_progress: Callable[[str], None],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._environment = os.environ | _variables(extra or {})
        self._options = ["--state", str(state.absolute())]
        if config is not None:
            self._options += ["--config", str(config.absolute())]
        self.roles = roles
        self._grace = drain + timedelta(seconds=5)
        self._on_progress = on_progress
        self._logs = state / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._check_logs_s = 0.0

    def start(self) -> None:
        """Start all roles."""
        for role in self.roles:
            self._start(role)

    @property
    def pids(self) -> Mapping[str, list[int]]:
        """The process ids of the running roles, by kind."""
        pids: dict[str, list[int]] = {role.kind: [] for role in self.roles}
        for role in self.roles:
            if role.process is not None:
                pids[role.kind].append(role.process.pid)
        return pids

    @property
    def ready(self) -> bool:
        """Whether all roles are ready to work."""
        return all(role.process is not None and role.is_ready() for role in self.roles)

    def watch(self) -> bool:
        """Restart roles that died and rotate logs; True if a role was started."""
        started = False
        now_s = time.monotonic()
        if now_s >= self._check_logs_s:
            self._check_logs_s = now_s + _CHECK_LOGS_S
            for role in self.roles:
                if rotate(self.log_of(role)):
                    role.log_begins = 0
        for role in self.roles:
            if role.process is not None and (code := role.process.poll()) is not None:
                self._died(role, code, now_s)
            if role.restart_s is not None and role.restart_s <= now_s:
                self._start(role)
                started = True
        return started

    def stop(self, grace: timedelta | None = None) -> dict[str, int]:
        """Drain all roles at the same time; return the exit codes of roles that failed.

        Death by SIGTERM is no failure: a role that is still starting has nothing to drain. After `grace` the remaining
        roles are killed.
        """
        running = [role for role in self.roles if role.process is not None and role.process.poll() is None]
        for role in running:
            assert role.process is not None
            role.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + (grace or self._grace).total_seconds()
        codes = {}
        for role in running:
            assert role.process is not None
            try:
                codes[role.name] = role.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                codes[role.name] = role.process.kill()
        return {name: code for name, code in codes.items() if code not in (0, -signal.SIGTERM)}

    def log_of(self, role: RoleProcess) -> Path:
        """Return the file of a role's output."""
        return self._logs / f"{role.kind}-{role.instance}.log"

    def check_start(self) -> None:
        """Unavailable if a role keeps dying, with its last errors. For the time before all roles are ready."""
        for role in self.roles:
            if role.deaths >= _DEATHS_AT_START:
                raise Unavailable(f"{role.name} does not start{self._last_errors(role)}")

    def _died(self, role: RoleProcess, code: int, now_s: float) -> None:
        role.deaths += _DEATHS_AT_START if code == _INVALID else 1
        self._on_progress(f"{role.name} {parent_bound.exit_text(code)}; restarting it{self._last_errors(role)}")
        if now_s - role.started_s > _STABLE_AFTER_S:
            role.pause_s = _FIRST_PAUSE_S
        elif role.movable:
            role.port = free_port()  # another process may have taken the old one
        role.process = None
        role.restart_s = now_s + role.pause_s
        role.pause_s = min(role.pause_s * 2, _LONGEST_PAUSE_S)

    def _last_errors(self, role: RoleProcess) -> str:
        """Return the errors that a role printed last, if any, and the path of its log."""
        log = self.log_of(role)
        with log.open("rb") as file:
            file.seek(max(role.log_begins, log.stat().st_size - _END_OF_LOG))
            lines = file.read().decode(errors="replace").split("\n")
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return f": {'; '.join(errors)} (log: {log})" if errors else f" (log: {log})"

    def _start(self, role: RoleProcess) -> None:
        command = [sys.executable, "-m", "deploy.cli", *self._options, role.kind]
        command += ["--instance", str(role.instance), "--listen", join(role.host, role.port), "--supervised"]
        with self.log_of(role).open("ab") as log:
            role.log_begins = log.tell()
            role.process = parent_bound.start(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                on_parent_death=signal.SIGTERM,
                grace=self._grace,
            )
        role.started_s = time.monotonic()
        role.restart_s = None


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        f"SIGNPOST_{key.upper()}": value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
    }

"""Role processes for tests: started as a user starts them; they never outlive the test run."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from deploy.dev import parent_bound
from deploy.dev.addresses import is_free
from tests.support.compiled import role_environment
from tests.support.waiting import HANGS_S, wait_until

# The setting of the address of /readyz; tests give each role its own port.
_LISTEN = {role: f"SIGNPOST_{role.upper()}_LISTEN" for role in ("router", "deliver", "ledger", "api")}
_LOG_LINES = 40
# Signpost itself chooses ports from 20,000. A role listens seconds after its port was chosen, so test processes choose
# from ranges of their own.
_FIRST_PORT = 10_000
_PORTS_EACH = 500


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# In turn, so that a port comes again only after all others: two roles that start at the same time never get one port.
_PORTS = cycle(range(_FIRST_PORT + _WORKER * _PORTS_EACH, _FIRST_PORT + (_WORKER + 1) * _PORTS_EACH))


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free and that neither this nor another test process has just returned."""
    return next(port for port in _PORTS if is_free(port))


class Role:
    """A running `signpost …` process."""

    def __init__(self, process: parent_bound.ChildProcess, name: str, address: str | None, log: Path) -> None:
        self._process = process
        self.name = name
        self.address = address
        self.log = log
        self.pid = process.pid

    @classmethod
    def start(cls, args: Sequence[str], env: Mapping[str, str], *, folder: Path) -> Self:
        """Start `signpost <args>` in `folder`, which gets its log, with settings from `env` only."""
        name = args[0]
        folder.mkdir(parents=True, exist_ok=True)
        full = {key: value for key, value in os.environ.items() if not key.startswith("SIGNPOST_")}
        full |= role_environment() | dict(env)
        listen = _LISTEN.get(name)
        if listen:
            full.setdefault(listen, f"127.0.0.1:{free_port()}")
        log = folder / f"{name}-{len(list(folder.glob(f'{name}-*.log')))}.log"
        with log.open("wb") as output:
            process = parent_bound.start(
                [sys.executable, "-m", "deploy.cli.main", *args],
                env=full,
                cwd=folder,
                stdout=output,
                stderr=output,
                on_parent_death=signal.SIGKILL,
                grace=timedelta(seconds=1),
            )
        return cls(process, name, f"http://{full[listen]}" if listen else None, log)

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def wait_ready(self, deadline_s: float = HANGS_S) -> Self:
        """Wait until /readyz responds with 200; AssertionError with the end of the log if the role ends or is late."""

        def is_ready() -> bool:
            if not self.is_alive():
                raise RuntimeError(f"{self.name} ended with exit code {self._process.poll()}")
            return self.get("/readyz")[0] == http.client.OK

        try:
            wait_until(is_ready, deadline_s, f"{self.name} is ready")
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{error}; {self._end_of_log()}") from None
        return self

    def get(self, path: str) -> tuple[int, str]:
        """GET a page of its status server; (0, reason) if the server does not respond."""
        assert self.address is not None, f"{self.name} has no status server"
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels; 0 if there are none.

        AssertionError if the process does not respond, for example while it restarts.
        """
        status, text = self.get("/metrics")
        assert status == http.client.OK, f"{self.name} has no metrics: {text}"
        lines = [line for line in text.splitlines() if line.startswith(name)]  # parsing all of them is slow
        return sum(
            sample.value
            for family in text_string_to_metric_families("\n".join(lines))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def kill(self) -> None:
        """Send SIGKILL and wait for the end of the process."""
        self._process.kill()

    def terminate(self, deadline_s: float = HANGS_S) -> int:
        """Send SIGTERM, wait for the end of the process, and return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def wait(self, deadline_s: float = HANGS_S) -> int:
        """Wait for the end of the process and return its exit code."""
        try:
            return self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {deadline_s:g} s; {self._end_of_log()}") from None

    def log_text(self) -> str:
        """Return its standard output and standard error."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _end_of_log(self) -> str:
        return "its log ends:\n" + "\n".join(self.log_text().splitlines()[-_LOG_LINES:])


class RoleStarter:
    """The type of the fixture `start_role`: call it as `start_role(["router"], env)`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roles: list[Role] = []

    def __call__(self, args: Sequence[str], env: Mapping[str, str]) -> Role:
        """Start `signpost <args>` with settings from `env` only."""
        role = Role.start(args, env, folder=self._folder)
        self._roles.append(role)
        return role

    @classmethod
    @contextmanager
    def into(cls, folder: Path) -> Iterator[Self]:
        """Yield a starter; kill its roles at the end."""
        starter = cls(folder)
        try:
            yield starter
        finally:
            for role in starter._roles:
                role.kill()

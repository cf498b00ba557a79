"""The commands of the runbooks in docs/operations.md, run on a real installation after real trouble."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path
from tests.support.api import start_api
from tests.support.parts import need
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.runbooks import sections
from tests.support.topics import produce, remove_topics
from tests.support.waiting import wait_until

# Where the roles listen by default, as the runbooks say.
DEFAULTS: Final = {"router": "9464", "deliver": "9465", "ledger": "9466", "api": "9467"}
# Several runbooks look at the same things: each command once.
COMMANDS: Final = [*dict.fromkeys(command for section in sections() for command in section.commands)]


class Installed:
    """A running installation with a healthy and a dead endpoint, an unreadable record and dead jobs."""

    def __init__(self, pipeline: Pipeline, roles: Mapping[str, Role], folder: Path) -> None:
        self._roles = roles
        self._folder = folder
        env = {key: value for key, value in os.environ.items() if not key.startswith("SIGNPOST_")}
        addresses = {
            f"SIGNPOST_{name.upper()}_LISTEN": str(role.address).removeprefix("http://") for name, role in roles.items()
        }
        self._env = env | pipeline.env() | addresses
        self._env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a runbook; the addresses are those of these roles."""
        for name, port in DEFAULTS.items():
            command = command.replace(f"http://127.0.0.1:{port}", str(self._roles[name].address))
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            env=self._env,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    need("curl")
    prefix = f"test-runbooks-{uuid4().hex[:8]}."
    folder = tmp_path_factory.mktemp("runbooks")
    behave = by_path({"/gone": always(CannedResponse(410))}, always(CannedResponse()))
    with RoleStarter.into(folder / "roles") as starter, Receiver(behave) as receiver:
        pipeline = Pipeline(broker.bootstrap_servers, prefix, starter)
        base = receiver.url.rstrip("/")
        pipeline.subscribe(f"{base}/well", f"{base}/gone", "http://127.0.0.1:1/dead")
        database = f"sqlite:///{folder / 'ledger.db'}"
        roles = {
            "router": pipeline.router(),
            "deliver": pipeline.deliver(),
            "ledger": pipeline.ledger(database),
            "api": start_api(pipeline, database),
        }
        produce(broker.bootstrap_servers, pipeline.events_topic, b"nobody can read this")
        pipeline.publish_some(3)
        receiver.wait_for(3, where=lambda request: request.path == "/well")
        wait_until(lambda: len(pipeline.dead_letters()) >= 2, 60, "a record and a job are dead")
        yield Installed(pipeline, roles, folder)
    remove_topics(broker.bootstrap_servers, prefix)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_a_runbook_works(installed: Installed, command: str) -> None:
    """Each command of a runbook exists, ends with exit code 0, and shows something unless it searches."""
    done = installed.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() or "--grep" in command, done.stderr

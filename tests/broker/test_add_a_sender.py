"""docs/add-a-sender.md: every command of the page, as it stands, on a real broker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from deploy.dev import parent_bound
from deploy.dev.broker import Broker
from tests.support.waiting import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-sender.md").read_text(encoding="utf-8")
# What runs in a terminal of its own, and what it says when the page goes on.
LASTING = {"signpost up": "ready; in other terminals", "signpost receiver": "verifies signatures of orders"}


class Block(NamedTuple):
    """Commands of one terminal, and what they print."""

    script: str
    shown: tuple[str, ...]

    @property
    def waits_for(self) -> str | None:
        """What a lasting command says when it is ready."""
        return next((said for command, said in LASTING.items() if command in self.script), None)


def blocks() -> Iterator[Block]:
    """Take the page's console blocks apart into commands, here-documents with them, and output."""
    for text in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        commands = re.findall(r"^\$ (?:[^\n]*<<END\n.*?^END$|[^\n]*)", text, re.DOTALL | re.MULTILINE)
        shown = text
        for command in commands:
            shown = shown.replace(command, "", 1)
        yield Block("\n".join(command[2:] for command in commands), tuple(line for line in shown.splitlines() if line))


@contextmanager
def lasting(block: Block, folder: Path, env: dict[str, str]) -> Iterator[Path]:
    """Run what lasts in the background until it is ready, and give its output's file."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        # exec, so that the signal at the end comes to the command itself.
        command = re.sub(r"^signpost", "exec signpost", block.script, flags=re.MULTILINE)
        process = parent_bound.start(
            ["bash", "-ec", command],
            env=env,
            cwd=folder,
            stdout=output,
            stderr=output,
            on_parent_death=signal.SIGKILL,
            grace=timedelta(seconds=1),
        )
    try:
        wait_until(lambda: str(block.waits_for) in log.read_text(), 90, block.script)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_every_command_of_the_page_does_what_it_says(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """A new folder, a type more, checked, loaded, everything started, subscribed, published, delivered and verified."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("SIGNPOST_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
        "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "SIGNPOST_PREFIX": prefix,
        "SIGNPOST_PARTITIONS": "3",
    }
    logs: list[Path] = []
    exports = ""
    with ExitStack() as stack:
        for block in blocks():
            if block.waits_for is not None:
                logs.append(stack.enter_context(lasting(block, tmp_path, env)))
                continue
            done = subprocess.run(
                ["bash", "-ec", exports + block.script],
                env=env,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said = done.stdout.replace(prefix, "signpost.").splitlines()
            assert [line for line in block.shown if line not in said] == []
            exports += "".join(f"{line}\n" for line in block.script.splitlines() if line.startswith("export "))
        wait_until(lambda: "evt_1001" in logs[-1].read_text(), 30, "the event is delivered")
    assert "200  evt_1001  order.cancelled  attempt 1  signature ok  148 bytes  POST /hook" in logs[-1].read_text()

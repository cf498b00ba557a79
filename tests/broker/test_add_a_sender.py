"""docs/add-a-sender.md: every command of the page, unchanged, on a real broker."""

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
# Commands that keep running in a terminal of their own, and the text that shows that they are ready.
READY_TEXTS = {"signpost up": "ready; in other terminals", "signpost receiver": "verifies signatures of orders"}


class Block(NamedTuple):
    """Commands of one terminal, and the output that the page shows."""

    script: str
    shown: tuple[str, ...]

    @property
    def waits_for(self) -> str | None:
        """The text that a background command prints when it is ready; None for other commands."""
        return next((text for command, text in READY_TEXTS.items() if command in self.script), None)


def blocks() -> Iterator[Block]:
    """Split the page's console blocks into commands (with their here-documents) and output."""
    for text in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        commands = re.findall(r"^\$ (?:[^\n]*<<END\n.*?^END$|[^\n]*)", text, re.DOTALL | re.MULTILINE)
        shown = text
        for command in commands:
            shown = shown.replace(command, "", 1)
        yield Block("\n".join(command[2:] for command in commands), tuple(line for line in shown.splitlines() if line))


@contextmanager
def in_background(block: Block, folder: Path, env: dict[str, str]) -> Iterator[Path]:
    """Run a command in the background, wait until it is ready, and yield the file of its output."""
    log = folder / f"{len(list(folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        # exec: the signal at the end must reach the command itself.
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


def test_commands_of_the_page_print_the_output_it_shows(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """A new folder and another type are checked and loaded; an event is published, delivered and verified."""
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
                logs.append(stack.enter_context(in_background(block, tmp_path, env)))
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
            printed = done.stdout.replace(prefix, "signpost.").splitlines()
            assert [line for line in block.shown if line not in printed] == []
            exports += "".join(f"{line}\n" for line in block.script.splitlines() if line.startswith("export "))
        wait_until(lambda: "evt_1001" in logs[-1].read_text(), what="the event is delivered")
    assert "200  evt_1001  order.cancelled  attempt 1  signature ok  148 bytes  POST /hook" in logs[-1].read_text()

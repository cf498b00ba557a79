"""The peers: how to build, configure and start each program."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from deploy.dev import parent_bound
from schemas.catalog.errors import Unavailable
from tests.bench.measure import Process
from tests.support.pipeline import SECRET

_FOLDER: Final = Path(__file__).parent
_TARGET: Final = _FOLDER / "target"


class Program(Protocol):
    """A program that posts the bodies of a topic."""

    def command(self, bootstrap: str, topic: str, group: str, url: str, outcomes: str) -> list[str]:
        """Return the command that reads `topic` as `group` from its beginning and posts to `url`."""
        ...


@dataclass(frozen=True, slots=True)
class _Running:
    """A running program."""

    process: parent_bound.ChildProcess
    name: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running(command: Sequence[str]) -> Iterator[Process]:
    """Run a program until the block ends."""
    with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = parent_bound.start(command, stdout=output, stderr=output, on_parent_death=signal.SIGKILL)
        try:
            yield _Running(process, Path(command[0]).name, log)
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class ParallelConsumer:
    """Confluent's parallel-consumer with Vert.x, UNORDERED; with `outcomes` it writes a record of each response."""

    in_flight: int
    outcomes: bool

    def command(self, bootstrap: str, topic: str, group: str, url: str, outcomes: str) -> list[str]:
        """Return the command; the first call builds the program with Maven. Unavailable without the tools."""
        if not _is_built():
            _build()
        path = f"{_TARGET / 'classes'}:{_TARGET / 'lib'}/*"
        to = outcomes if self.outcomes else "-"
        return ["java", "-cp", path, "Peer", bootstrap, topic, group, url, str(self.in_flight), SECRET, to]


@dataclass(frozen=True, slots=True)
class Bento:
    """Bento, with kafka_franz as input and http_client as output."""

    in_flight: int

    @staticmethod
    def program() -> str | None:
        """Return its path, None if it is not installed."""
        return shutil.which("bento")

    def command(self, bootstrap: str, topic: str, group: str, url: str, outcomes: str) -> list[str]:
        """Return the command; its configuration file stays in the folder for temporary files."""
        sign = f'meta signature = content().hash("hmac_sha256", "{SECRET}").encode("hex")'
        source = {"seed_brokers": [bootstrap], "topics": [topic], "consumer_group": group, "start_from_oldest": True}
        headers = {"Content-Type": "application/json", "X-Signature": '${! meta("signature") }'}
        config = {
            "input": {"kafka_franz": source},
            "pipeline": {"processors": [{"mapping": sign}]},
            "output": {
                "http_client": {"url": f"{url}/h0", "verb": "POST", "headers": headers, "max_in_flight": self.in_flight}
            },
            "http": {"enabled": False},
            "logger": {"level": "ERROR"},
        }
        file = Path(tempfile.gettempdir()) / f"signpost-bench-bento-{group}.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        return [self.program() or "bento", "-c", str(file)]


def _is_built() -> bool:
    built = _TARGET / "classes" / "Peer.class"
    sources = (_FOLDER / "pom.xml", _FOLDER / "src" / "Peer.java")
    return built.is_file() and built.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def _build() -> None:
    for tool, package in (("java", "openjdk-17-jdk-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} builds and runs the parallel-consumer: apt-get install {package}")
    print("bench-peers: Maven fetches and builds the parallel-consumer once; this takes a minute", file=sys.stderr)
    goals = ["compile", "dependency:copy-dependencies", f"-DoutputDirectory={_TARGET / 'lib'}"]
    built = subprocess.run(["mvn", "-B", "-q", "-f", str(_FOLDER / "pom.xml"), *goals], check=False)
    if built.returncode != 0:
        raise Unavailable(f"mvn ended with exit code {built.returncode}")

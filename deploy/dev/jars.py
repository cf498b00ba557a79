"""The jars of Kafka, fetched once with Maven and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from deploy.dev import parent_bound as tether
from schemas.catalog.errors import Unavailable

KAFKA_VERSION: Final = "4.3.1"
_POM: Final = Path(__file__).with_name("pom.xml")
_MAIN_JAR: Final = f"kafka_2.13-{KAFKA_VERSION}.jar"
# Maven's own read timeout is half an hour: a repository that stands still for this long is given up.
_STALLED_S: Final = 120.0
_REPORT_EVERY_S: Final = 2.0
_ARRIVED: Final = re.compile(rb"Downloaded from \S+ \S*/(\S+\.jar)|Copying (\S+\.jar) to ")

Say: TypeAlias = Callable[[str], None]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the jars are kept: `$XDG_CACHE_HOME` or `~/.cache`, `signpost/kafka-<version>`."""
    root = environment.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"  # relative ones do not count (XDG)
    return base / "signpost" / f"kafka-{KAFKA_VERSION}"


def kafka_jars(say: Say, folder: Path | None = None) -> Path:
    """Return the folder of Kafka's jars, fetched first where they are missing; Unavailable where they cannot be.

    Any number of processes may call this at once: one fetches, the others wait for it. The folder appears whole, by a
    rename, so a process that is killed leaves nothing half done behind.
    """
    folder = folder or cache_folder()
    if _is_complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder.with_name(f".{folder.name}.lock"), say):
            if not _is_complete(folder):
                _fetch(folder, say)
    except OSError as error:
        raise Unavailable(f"Kafka's jars cannot be kept in {folder}: {error.strerror or error}") from error
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / _MAIN_JAR).is_file()


@contextmanager
def _one_at_a_time(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock that the kernel lets go of when this process ends. Maven's own repository is not safe for two."""
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that fetches Kafka")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, say: Say) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Maven (mvn) is not on the PATH, and Kafka's jars are not in the cache")
    say(f"fetching Kafka {KAFKA_VERSION} with Maven (once, about 80 MB, kept in {folder})")
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _run_maven(maven, fresh, say)
        if not _is_complete(fresh):
            raise Unavailable(f"Maven ended without an error, but there is no {_MAIN_JAR}")
        if folder.exists():  # somebody removed files from it
            shutil.rmtree(folder)
        fresh.chmod(0o755)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run_maven(maven: str, target: Path, say: Say) -> None:
    command = [
        maven,
        "--batch-mode",
        "--file",
        str(_POM),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={target}",
    ]
    process = tether.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    started = reported = time.monotonic()
    last: deque[str] = deque(maxlen=20)
    arrived: set[bytes] = set()
    try:
        for line in _lines(process):
            last.append(line.decode(errors="replace").rstrip())
            if match := _ARRIVED.search(line):
                arrived.add(match[1] or match[2])
            if time.monotonic() - reported >= _REPORT_EVERY_S:
                reported = time.monotonic()
                say(f"fetching Kafka {KAFKA_VERSION}: {len(arrived)} jars, {reported - started:.0f} s")
        if process.wait() != 0:
            raise Unavailable(f"Maven could not fetch Kafka: {_reason(last)}")
    finally:
        process.kill()
        if process.output:
            process.output.close()


def _lines(process: tether.Tethered) -> Iterator[bytes]:
    """Give what a process prints line by line; Unavailable where nothing comes for too long."""
    assert process.output is not None
    descriptor, rest = process.output.fileno(), b""
    while True:
        if not select.select([descriptor], [], [], _STALLED_S)[0]:
            raise Unavailable(f"Maven could not fetch Kafka: nothing came for {_STALLED_S:.0f} s")
        chunk = os.read(descriptor, 65_536)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if not chunk:
            return


def _reason(lines: deque[str]) -> str:
    """Return what Maven says first when it gives up."""
    errors = [line.removeprefix("[ERROR] ") for line in lines if line.startswith("[ERROR] ")]
    return errors[0] if errors else "\n".join(lines)

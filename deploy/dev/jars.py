"""Kafka's jars, fetched once with Maven and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from deploy.dev import parent_bound
from schemas.catalog.errors import Unavailable

KAFKA_VERSION: Final = "4.3.1"
_POM: Final = Path(__file__).with_name("pom.xml")
_MAIN_JAR: Final = f"kafka_2.13-{KAFKA_VERSION}.jar"
# A repository that sends nothing for this long has failed. Maven's own read timeout is half an hour.
_STALLED_S: Final = 120.0
_REPORT_EVERY_S: Final = 2.0
_ARRIVED: Final = re.compile(rb"Downloaded from \S+ \S*/(\S+\.jar)|Copying (\S+\.jar) to ")

OnProgress: TypeAlias = Callable[[str], None]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the jars: `signpost/kafka-<version>` in `$XDG_CACHE_HOME` or `~/.cache`."""
    root = environment.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"  # XDG ignores relative paths
    return base / "signpost" / f"kafka-{KAFKA_VERSION}"


def kafka_jars(on_progress: OnProgress, folder: Path | None = None) -> Path:
    """Return the folder of Kafka's jars, fetched if they are missing; Unavailable if that fails.

    Several processes may call this at once: one fetches, the others wait. A rename puts the complete folder in place: a
    killed process leaves no partial one.
    """
    folder = folder or cache_folder()
    if _is_complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder.with_name(f".{folder.name}.lock"), on_progress):
            if not _is_complete(folder):
                _fetch(folder, on_progress)
    except OSError as error:
        raise Unavailable(f"Kafka's jars cannot be kept in {folder}: {error.strerror or error}") from error
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / _MAIN_JAR).is_file()


@contextmanager
def _one_at_a_time(path: Path, on_progress: OnProgress) -> Iterator[None]:
    """Hold a file lock, which the kernel releases when this process ends. Maven's repository is not safe for two."""
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("waiting for another process that fetches Kafka")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, on_progress: OnProgress) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Maven (mvn) is not on the PATH, and Kafka's jars are not in the cache")
    on_progress(f"fetching Kafka {KAFKA_VERSION} with Maven (once, about 80 MB, kept in {folder})")
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _run_maven(maven, fresh, on_progress)
        if not _is_complete(fresh):
            raise Unavailable(f"Maven ended without an error, but did not fetch {_MAIN_JAR}")
        if folder.exists():  # somebody removed files from it
            shutil.rmtree(folder)
        fresh.chmod(0o755)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run_maven(maven: str, target: Path, on_progress: OnProgress) -> None:
    command = [
        maven,
        "--batch-mode",
        "--file",
        str(_POM),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={target}",
    ]
    process = parent_bound.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    started = time.monotonic()
    reported = started
    last: deque[str] = deque(maxlen=20)
    arrived: set[bytes] = set()
    try:
        for line in _lines(process):
            last.append(line.decode(errors="replace").rstrip())
            if match := _ARRIVED.search(line):
                arrived.add(match[1] or match[2])
            if time.monotonic() - reported >= _REPORT_EVERY_S:
                reported = time.monotonic()
                on_progress(f"fetching Kafka {KAFKA_VERSION}: {len(arrived)} jars, {reported - started:.0f} s")
        if process.wait() != 0:
            raise Unavailable(f"Maven could not fetch Kafka: {_reason(last)}")
    finally:
        process.kill()
        if process.output:
            process.output.close()


def _lines(process: parent_bound.ChildProcess) -> Iterator[bytes]:
    """Yield the lines that a process prints; Unavailable if it prints nothing for too long."""
    assert process.output is not None
    descriptor = process.output.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:  # `select` refuses descriptors from 1,024 on
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_STALLED_S):
                raise Unavailable(f"Maven could not fetch Kafka: no output for {_STALLED_S:.0f} s")
            chunk = os.read(descriptor, 65_536)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            if not chunk:
                return


def _reason(lines: deque[str]) -> str:
    """Return Maven's first error."""
    errors = [line.removeprefix("[ERROR] ") for line in lines if line.startswith("[ERROR] ")]
    return errors[0] if errors else "\n".join(lines)

"""Archive of Kafka's loaded classes (Java's application class-data sharing), which makes a start of the JVM faster.

An archive belongs to one Java and to one set of jars, and its name contains both. It lies in the folder of the jars. It
is only an optimisation: without it, Kafka starts the same way and takes longer.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from deploy.dev.jars import OnProgress
from schemas.catalog.errors import Unavailable

# A bad archive is ignored. Java would write a warning about it into Kafka's log.
_QUIET: Final = "-Xlog:cds*=off"


def options(archive: Path | None, record_to: Path | None) -> list[str]:
    """Return the options of a JVM that uses an archive, or that writes one when it ends; both may be None."""
    if record_to is not None:
        return [f"-XX:ArchiveClassesAtExit={record_to}", _QUIET]
    return [] if archive is None else [f"-XX:SharedArchiveFile={archive}", _QUIET]


def find_or_record(java: str, jars: Path, record: Callable[[Path], None], on_progress: OnProgress) -> Path | None:
    """Return the archive of a Java (the text of `java -version`) and a folder of jars, None if there is none.

    If it is missing, `record(path)` runs Kafka once to write it. One process records at a time; the others go without.
    An empty archive means that this Java writes none, so that no later start tries it again.
    """
    try:
        archive = jars / archive_name(java, jars)
        if not archive.exists():
            _record(archive, record, on_progress)
        return archive if archive.stat().st_size else None
    except (OSError, Unavailable):  # for example, another process records it, or the folder is read-only
        return None


def archive_name(java: str, jars: Path) -> str:
    """Return the name of an archive. Java refuses an archive if the time or size of a jar has changed."""
    files = sorted((jar.name, jar.stat().st_size, jar.stat().st_mtime_ns) for jar in jars.glob("*.jar"))
    version = re.search(r'version "([\w.]+)', java)
    # Options of the environment change the other lines of the text, and the mode after the build.
    builds = re.findall(r"^.*\(build [^,)]*", java, re.MULTILINE)
    return f"classes-java-{version[1] if version else 'unknown'}-{_digest(builds)}-{_digest([jars, files])}.jsa"


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def _record(archive: Path, record: Callable[[Path], None], on_progress: OnProgress) -> None:
    with (archive.parent / ".classes.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if archive.exists():
            return
        for left in archive.parent.glob(".classes-*"):  # of a recording that was killed
            shutil.rmtree(left, ignore_errors=True)
        on_progress("broker: preparing faster starts of Kafka (once, about 10 s)")
        with tempfile.TemporaryDirectory(prefix=".classes-", dir=archive.parent) as folder:
            fresh = Path(folder, archive.name)
            record(fresh)
            fresh.touch()
            fresh.replace(archive)
        same_java = archive.name.rpartition("-")[0]
        for other in archive.parent.glob(f"{same_java}-*.jsa"):  # of jars that have changed since
            if other != archive:
                other.unlink(missing_ok=True)

"""The archive of Kafka's classes is recorded once, completely, and never prevents a start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.dev.class_archive import archive_name, find_or_record, options
from schemas.catalog.errors import Unavailable
from tests.support.processes import python, read_line

JAVA = """openjdk version "17.0.15" 2025-04-15
OpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)
OpenJDK 64-Bit Server VM (build 17.0.15+6-Debian-1deb12u1, mixed mode, sharing)
"""
# Records until it is killed.
RECORD = """
    import time
    from pathlib import Path
    from deploy.dev.class_archive import find_or_record

    def record(path):
        path.write_bytes(b"half")
        print("recording", flush=True)
        time.sleep(600)

    find_or_record({java!r}, Path({jars!r}), record, lambda line: None)
"""


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    """A folder with two jars."""
    for name in ("a.jar", "b.jar"):
        (tmp_path / name).write_bytes(b"classes")
    return tmp_path


def write(path: Path) -> None:
    path.write_bytes(b"classes")


def never(path: Path) -> None:
    raise AssertionError(f"recorded {path}")


def silent(line: str) -> None:
    """Discard a line of progress."""


def test_archive_is_recorded_once(jars: Path) -> None:
    """The first start records the archive and says so; the next one uses it."""
    lines: list[str] = []
    archive = find_or_record(JAVA, jars, write, lines.append)
    assert archive is not None
    assert archive.read_bytes() == b"classes"
    assert len(lines) == 1
    assert "once" in lines[0]
    assert find_or_record(JAVA, jars, never, silent) == archive
    assert options(archive, None)[0] == f"-XX:SharedArchiveFile={archive}"


def test_archive_belongs_to_one_java_and_one_set_of_jars(jars: Path) -> None:
    """Another Java, or a jar that is replaced or added, has an archive of its own. That of the old jars is removed."""
    first = find_or_record(JAVA, jars, write, silent)
    other_java = find_or_record(JAVA.replace("17.0.15", "21.0.1"), jars, write, silent)
    assert first is not None
    assert other_java is not None
    assert len({first, other_java}) == 2
    assert "java-21.0.1-" in other_java.name
    name = archive_name(JAVA, jars)
    os.utime(jars / "a.jar", (1, 1))
    assert archive_name(JAVA, jars) != name
    name = archive_name(JAVA, jars)
    (jars / "c.jar").touch()
    assert archive_name(JAVA, jars) != name
    assert find_or_record(JAVA, jars, write, silent) is not None
    assert not first.exists()
    assert other_java.exists()


def test_options_of_the_environment_do_not_change_the_archive(jars: Path) -> None:
    """JAVA_TOOL_OPTIONS, which Java prints with its version, makes no other archive. Another build does."""
    limited = "Picked up JAVA_TOOL_OPTIONS: -XX:TieredStopAtLevel=1\n" + JAVA.replace("mixed", "mixed mode, emulated")
    archive = find_or_record(JAVA, jars, write, silent)
    assert archive is not None
    assert find_or_record(limited, jars, never, silent) == archive
    other_build = find_or_record(JAVA.replace("+6", "+7"), jars, write, silent)
    assert other_build is not None
    assert other_build != archive
    assert archive.exists()


def test_process_does_not_wait_for_a_recording_of_another_one(jars: Path) -> None:
    """While one process records, others start without an archive. If it is killed, the next one records all of it."""
    code = RECORD.format(java=JAVA, jars=str(jars))
    with python(code) as first:
        assert read_line(first) == "recording"
        assert find_or_record(JAVA, jars, never, silent) is None
        first.kill()
        first.wait()
    archive = find_or_record(JAVA, jars, write, silent)
    assert archive is not None
    assert archive.read_bytes() == b"classes"
    assert {file.name for file in jars.iterdir()} == {"a.jar", "b.jar", ".classes.lock", archive.name}


def test_java_that_writes_no_archive_is_asked_once(jars: Path) -> None:
    """A Java that ends without an archive, as one without its own archive does, runs for that only once."""
    assert find_or_record(JAVA, jars, lambda path: None, silent) is None
    assert find_or_record(JAVA, jars, never, silent) is None


def test_broker_that_cannot_record_starts_without_an_archive(jars: Path) -> None:
    """If Kafka does not start to record, there is no archive, and nothing is left of it."""

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise Unavailable("Kafka was not ready")

    assert find_or_record(JAVA, jars, fail, silent) is None
    assert {file.name for file in jars.iterdir()} == {"a.jar", "b.jar", ".classes.lock"}


def test_unwritable_cache_needs_no_archive(tmp_path: Path) -> None:
    """Without a folder that can be written, Kafka starts without an archive."""
    assert find_or_record(JAVA, tmp_path / "missing", never, silent) is None
    assert options(None, None) == []

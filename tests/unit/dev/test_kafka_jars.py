"""Kafka's jars are fetched once, completely, and by one process at a time. A script stands in for Maven."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.dev.jars import KAFKA_VERSION, cache_folder, kafka_jars
from schemas.catalog.errors import Unavailable
from tests.support.processes import is_running, python, read_line
from tests.support.waiting import wait_until

# Finds its target in the arguments, as Maven does, and records each run in a file in its folder.
SCRIPT = """#!/bin/sh
echo $$ >> "$(dirname "$0")/runs"
for argument in "$@"; do case "$argument" in -DoutputDirectory=*) target="${{argument#*=}}";; esac; done
{body}
"""
FETCH = """
    from pathlib import Path
    from deploy.dev.jars import kafka_jars
    print(kafka_jars(lambda line: None, Path({folder!r})), flush=True)
"""
SLOWLY = f'echo x > "$target/a.jar"; sleep 0.3; echo x > "$target/kafka_2.13-{KAFKA_VERSION}.jar"'


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def install_maven(bin_folder: Path, body: str) -> None:
    script = bin_folder / "mvn"
    script.write_text(SCRIPT.format(body=body))
    script.chmod(0o755)


def runs(bin_folder: Path) -> list[int]:
    file = bin_folder / "runs"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_concurrent_processes_fetch_once(bin_folder: Path, tmp_path: Path) -> None:
    """Processes that need the jars at the same time all get them, and Maven runs for one of them."""
    install_maven(bin_folder, SLOWLY)
    folder = tmp_path / "cache" / "kafka"
    code = FETCH.format(folder=str(folder))

    with python(code) as first, python(code) as second:
        assert read_line(first) == read_line(second) == str(folder)

    assert len(runs(bin_folder)) == 1
    assert sorted(file.name for file in folder.iterdir()) == ["a.jar", f"kafka_2.13-{KAFKA_VERSION}.jar"]


def test_killed_fetch_leaves_no_partial_folder(bin_folder: Path, tmp_path: Path) -> None:
    """After SIGKILL, Maven ends, the folder does not exist, and the next process fetches it completely."""
    folder = tmp_path / "cache" / "kafka"
    install_maven(bin_folder, 'echo x > "$target/a.jar"; exec sleep 600')
    with python(FETCH.format(folder=str(folder))) as first:
        [maven] = wait_until(lambda: runs(bin_folder), what="Maven runs")
        first.kill()
        wait_until(lambda: not is_running(maven), what="Maven ends")
    assert not folder.exists()

    install_maven(bin_folder, SLOWLY)

    assert kafka_jars(lambda line: None, folder) == folder
    assert len(list(folder.iterdir())) == 2


def test_failed_fetch_gives_the_reason_and_cleans_up(bin_folder: Path, tmp_path: Path) -> None:
    """Maven's first error is the reason, and only the lock file is left."""
    install_maven(bin_folder, "echo '[INFO] x'; echo '[ERROR] Network is unreachable'; echo '[ERROR] more'; exit 1")

    with pytest.raises(Unavailable, match="Maven could not fetch Kafka: Network is unreachable"):
        kafka_jars(lambda line: None, tmp_path / "cache" / "kafka")

    assert [file.name for file in (tmp_path / "cache").iterdir()] == [".kafka.lock"]


def test_cached_jars_need_no_maven(bin_folder: Path, tmp_path: Path) -> None:
    """If the jars are cached, nothing is run and nothing is printed."""
    (tmp_path / f"kafka_2.13-{KAFKA_VERSION}.jar").write_text("x")
    printed: list[str] = []

    assert kafka_jars(printed.append, tmp_path) == tmp_path
    assert (runs(bin_folder), printed) == ([], [])


def test_progress_is_shown(bin_folder: Path, tmp_path: Path) -> None:
    """A line before the fetch names the version, the tool and the folder."""
    install_maven(bin_folder, SLOWLY)
    printed: list[str] = []

    kafka_jars(printed.append, tmp_path / "kafka")

    assert printed[0].startswith(f"fetching Kafka {KAFKA_VERSION} with Maven")
    assert str(tmp_path / "kafka") in printed[0]


def test_missing_maven_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Maven and without jars, the error names Maven."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match=r"Maven \(mvn\) is not on the PATH"):
        kafka_jars(lambda line: None, tmp_path / "kafka")


def test_cache_is_in_the_cache_folder_of_the_user(tmp_path: Path) -> None:
    """The cache is in XDG_CACHE_HOME if that is absolute, otherwise in ~/.cache."""
    name = f"signpost/kafka-{KAFKA_VERSION}"

    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / name
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / name
    assert cache_folder({}) == Path.home() / ".cache" / name

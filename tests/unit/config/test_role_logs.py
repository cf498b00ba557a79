"""Log files of supervised roles are bounded."""

from __future__ import annotations

from pathlib import Path

from deploy.dev.log_files import rotate


def test_long_log_is_rotated_under_its_writer(tmp_path: Path) -> None:
    """The old content is kept in one backup file, and a process that has the log open continues at its start."""
    log = tmp_path / "router-0.log"
    assert not rotate(log, 10)
    with log.open("ab", buffering=0) as writer:
        for text in (b"the oldest of all\n", b"the older one\n"):
            writer.write(text)
            assert rotate(log, 10)
        writer.write(b"new\n")
        assert not rotate(log, 10)
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "router-0.log.1").read_bytes() == b"the older one\n"

"""Logs of supervised roles do not fill the disk."""

from __future__ import annotations

from pathlib import Path

from deploy.dev.supervisor import rotate


def test_a_log_that_is_too_long_begins_anew_under_its_writer(tmp_path: Path) -> None:
    """What was written is kept once beside it, and a process that has it open goes on at its beginning."""
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

"""Bounds the log files of long-running programs: the roles, and Kafka in a JVM."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

# Delivery logs a line of about 300 bytes per attempt. With the previous part, a log takes twice this.
MAX_LOG: Final = 64 * 1024 * 1024


def previous(log: Path) -> Path:
    """Return the file with the previous part of a log."""
    return log.with_name(f"{log.name}.1")


def rotate(log: Path, max_bytes: int = MAX_LOG) -> bool:
    """Copy a log longer than `max_bytes` to `<log>.1` and truncate it; True if it was longer.

    The writer keeps the file open and appends. Lines written between copy and truncation are lost.
    """
    if not log.exists() or log.stat().st_size <= max_bytes:
        return False
    shutil.copyfile(log, previous(log))
    os.truncate(log, 0)
    return True

"""The log of a Kafka node that ended: the line that says why, and a file that outlives temporary data."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

# `java.net.BindException: Address already in use`, `[main] ERROR kafka.Kafka$ - Exiting Kafka`
_REASON: Final = re.compile(r"(?:Exception|Error)\b|\bERROR\b|\bFATAL\b")
_LONGEST: Final = 300


def reason_in(log: str) -> str:
    """Return the line of a log that says why the node ended: the last exception or error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(("\tat ", "\t..."))]
    reason = next((line for line in reversed(lines) if _REASON.search(line)), lines[-1] if lines else "it wrote no log")
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…"


def save(log: bytes) -> Path:
    """Write a log to a new file in the folder of temporary files, and return its path."""
    with tempfile.NamedTemporaryFile(prefix="signpost-kafka-", suffix=".log", delete=False) as file:
        file.write(log)
    return Path(file.name)

"""A role that begins anew in its own place: the same command, process id and log, and nothing left in memory."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import structlog

_log = structlog.get_logger("role")


def begin_anew(reason: str) -> NoReturn:
    """Replace this process by a fresh one with the same arguments; what was not committed is done again."""
    _log.warning("role.begins_anew", reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "deploy.cli.main", *sys.argv[1:]])

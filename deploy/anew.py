"""A role that begins anew in its own place: the same command, process id and log, and nothing left in memory."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import structlog

from consumers.runtime.signals import ENDING

_log = structlog.get_logger("role")


def begin_anew(reason: str) -> NoReturn:
    """Replace this process by a fresh one with the same arguments; what was not committed is done again.

    A signal that asks it to end meanwhile is kept for the fresh one, which hears it as soon as it can drain.
    """
    _log.warning("role.begins_anew", reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    os.execv(sys.executable, [sys.executable, "-m", "deploy.cli.main", *sys.argv[1:]])

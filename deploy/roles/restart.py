"""Re-exec of a role: the same command, process id and log, with nothing left in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

import structlog

from consumers.service.signals import STOP_SIGNALS

_log = structlog.get_logger("role")


def restart_in_place(reason: str, stopping: Callable[[], bool]) -> None:
    """Replace this process with a new one with the same arguments. Uncommitted work is repeated.

    Returns only if a signal asked the process to stop. A later SIGTERM or SIGINT is blocked and stays pending for the
    new process, which drains. If other threads still run, the kernel may deliver the signal to one of them, where
    Python's handler would never run. Therefore the default action is set, which ends the process at once. That is safe:
    no work is in progress.
    """
    if stopping():
        return
    _log.warning("role.restarting", reason=reason)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # its reader is gone, or its disk is full
            stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if not stopping():
        os.execv(sys.executable, [sys.executable, "-m", "deploy.cli", *sys.argv[1:]])

"""Re-exec of a role: the same command, process id and log, with nothing left in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable

import structlog

from consumers.service.signals import STOP_SIGNALS
from schemas.catalog.errors import RestartRequired

_log = structlog.get_logger("role")


def exit_code_of(run: Callable[[], bool], stopping: Callable[[], bool]) -> int:
    """Run a role until it ends, and return its exit code: 0 if `run` returns True. Restart it where only that helps."""
    try:
        return 0 if run() else 1
    except RestartRequired as error:
        restart_in_place(str(error), stopping)
        return 1  # it returns only if a signal has ended this process meanwhile


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

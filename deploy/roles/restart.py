"""A role that begins anew in its own place: the same command, process id and log, and nothing left in memory."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import structlog

from consumers.service.signals import STOP_SIGNALS

_log = structlog.get_logger("role")


def restart_in_place(reason: str, stopping: Callable[[], bool]) -> None:
    """Replace this process by a fresh one with the same arguments; what was not committed is done again.

    Returns only where it was told to end before. A signal that asks it to end from then on is kept for the fresh one,
    which hears it as soon as it can drain. While other threads are there one of them may get it, whose Python would
    never come to note it: then the process ends by it, at once. Nothing is lost by that: nothing is under way any more.
    """
    if stopping():
        return
    _log.warning("role.restarting", reason=reason)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if not stopping():
        os.execv(sys.executable, [sys.executable, "-m", "deploy.cli.main", *sys.argv[1:]])

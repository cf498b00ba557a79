"""How a process of ours ends: at once, without taking the interpreter from under threads that are still at work."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with an exit code, after all that it has said is written.

    Python's own end takes the interpreter apart while threads of Kafka's clients go on. A question to the cluster whose
    answer (or time-out) comes then calls into what is gone, and the process dies of SIGSEGV: seen where a role that
    asks for the end of `subscriptions` all the time was told to end, and with any AdminClient that has asked something.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)

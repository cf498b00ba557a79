"""Exit of a process without Python's finalization, which would crash running threads of Kafka clients."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn


def exit_process(code: int) -> NoReturn:
    """Flush logs and output, and exit at once with `code`.

    Python's finalization tears down the interpreter while threads of Kafka clients still run. If a response or time-out
    of a pending request arrives then, its callback runs in a dead interpreter and the process dies of SIGSEGV. Any
    AdminClient with a pending request can cause this.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone
            stream.flush()
    os._exit(code)

"""Ctrl-C while modules are imported. This module imports little, so that it is there before the others."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without a traceback, as it ends a program in C.

    KeyboardInterrupt within an import cannot be handled well: Python turns it into other errors, and leaves modules
    half initialized. A process that ignores Ctrl-C, or handles it in another way, is left as it is.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

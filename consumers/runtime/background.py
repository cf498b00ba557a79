"""Blocking calls in threads of their own, which a process that ends does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Make a call in a new daemon thread (50 µs); an executor's threads would be joined at exit, hung ones too."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # handed to whoever asks for the result
            future.set_exception(error)

    _Call(target=run, name=name, daemon=True).start()
    return future


class _Call(threading.Thread):
    pass


def calls_under_way() -> bool:
    """Tell whether a call has not come back yet.

    A process must then not end as Python does, which takes clients and interpreter away from under the thread that is
    in them. (Once, on a busy machine, a router that was told to end died of SIGSEGV; this is the likely cause.)
    """
    return any(isinstance(thread, _Call) for thread in threading.enumerate())

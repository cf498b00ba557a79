"""Blocking calls in daemon threads: the process does not wait for them at exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Make a call in a new daemon thread (50 µs). An executor would join its threads at exit, even hung ones."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # raised by `result`
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future

"""A thread that keeps what it reads current, through outages of the brokers."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from schemas.catalog.errors import Unavailable


class Worker:
    """Repeats `turn` until `stop`, and as long as `has_work` afterwards.

    Unavailable ends no worker: `on_unavailable` gets it, and the next turn begins `retry_s` later.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], None],
        on_unavailable: Callable[[Unavailable], None],
        *,
        retry_s: float = 0.2,
        has_work: Callable[[], bool] = lambda: False,
    ) -> None:
        self._turn = turn
        self._on_unavailable = on_unavailable
        self._retry_s = retry_s
        self._has_work = has_work
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end. `join` waits for it."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Let the thread end, and wait for that if it was started."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set() or self._has_work():
            try:
                self._turn()
            except Unavailable as error:
                self._on_unavailable(error)
                self._stopping.wait(self._retry_s)

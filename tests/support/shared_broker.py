"""One broker for a run in several processes: the one that spreads the tests starts it when the first test asks.

It ends with that process, whatever becomes of those that run the tests.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable


class BrokerHost:
    """Answers at a Unix socket where the broker is; `start` is called by the first question."""

    def __init__(self, start: Callable[[], Broker]) -> None:
        self._start = start
        self._broker: Broker | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="signpost-tests-"))
        self.address = str(self._folder / "broker")
        self._listener = Listener(self.address, "AF_UNIX")
        self._closed = False
        threading.Thread(target=self._serve, name="broker-host", daemon=True).start()

    def _serve(self) -> None:
        # One question after the other: who asks while the broker starts waits for it.
        while not self._closed:
            with contextlib.suppress(OSError, EOFError), self._listener.accept() as question:
                self._answer(question)

    def _answer(self, question: Connection[object, object]) -> None:
        if self._closed:
            return
        try:
            if self._broker is None:
                self._broker = self._start()
        except Unavailable as error:
            question.send((None, str(error)))
        else:
            question.send((self._broker.bootstrap_servers, None))

    def close(self) -> None:
        """End the broker, if it was started here."""
        self._closed = True
        with contextlib.suppress(OSError):
            Client(self.address, "AF_UNIX").close()  # wakes the thread, which is not waiting for anything else
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._broker is not None:
            self._broker.close()


def ask(address: str) -> Broker:
    """Return the broker of the host at `address`; Unavailable says why there is none."""
    with Client(address, "AF_UNIX") as host:
        bootstrap_servers, refusal = host.recv()
    if refusal is not None:
        raise Unavailable(refusal)
    return Broker(bootstrap_servers, None)

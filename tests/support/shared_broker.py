"""One broker for a test run in several processes: the controlling process starts it when the first test needs it.

The broker ends with the controlling process, even if test processes crash.
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
    """Serves the broker's address at a Unix socket; calls `start` at the first request."""

    def __init__(self, start: Callable[[], Broker]) -> None:
        self._start = start
        self._broker: Broker | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="signpost-tests-"))
        self.address = str(self._folder / "broker")
        self._listener = Listener(self.address, "AF_UNIX")
        self._closed = False
        threading.Thread(target=self._serve, name="broker-host", daemon=True).start()

    def _serve(self) -> None:
        # One request after the other: requests during the start of the broker wait for it.
        while not self._closed:
            with contextlib.suppress(OSError, EOFError), self._listener.accept() as connection:
                self._respond(connection)

    def _respond(self, connection: Connection[object, object]) -> None:
        if self._closed:
            return
        try:
            if self._broker is None:
                self._broker = self._start()
        except Unavailable as error:
            connection.send((None, str(error)))
        else:
            connection.send((self._broker.bootstrap_servers, None))

    def close(self) -> None:
        """Stop the broker, if this object started it."""
        self._closed = True
        with contextlib.suppress(OSError):
            Client(self.address, "AF_UNIX").close()  # wakes the thread, which waits in accept
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._broker is not None:
            self._broker.close()


def ask(address: str) -> Broker:
    """Return the broker of the host at `address`; Unavailable with the reason if there is none."""
    with Client(address, "AF_UNIX") as host:
        bootstrap_servers, refusal = host.recv()
    if refusal is not None:
        raise Unavailable(refusal)
    return Broker(bootstrap_servers, None)

"""An HTTP/1.1 endpoint for webhooks that records what comes, verifies it, and behaves as badly as it is told to.

It runs in a thread of its own with its own event loop, listens on loopback unless told otherwise, and is used by tests,
by the demo and by `signpost receiver`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, TypeAlias

from deploy.dev.connection import Connection
from deploy.dev.http1 import Head
from deploy.dev.replies import Answer, AttemptCounter, Behaviour, Received, Reply, always, event_id_of
from schemas.catalog.errors import Unavailable

Verify: TypeAlias = Callable[[Received], str | None]
OnDelivery: TypeAlias = Callable[[Received, Reply], None]
# Where senders have an id that stays the same in all attempts, besides the body.
_ID_HEADERS: Final = ("webhook-id", "x-event-id")
_BACKLOG: Final = 1024
_START_S: Final = 10.0


class Receiver:
    """An endpoint that listens from construction to `close()`.

    `behave` decides on the reply to each request and may be set anew at any time; `verify` says what is wrong with a
    request (None: genuine); `on_delivery` is called for each, in the receiver's thread. `keep` records what came.
    """

    def __init__(
        self,
        behave: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        verify: Verify | None = None,
        on_delivery: OnDelivery | None = None,
        keep: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behave = behave or always(Answer())
        self.verify = verify
        self.host, self.port = host, port
        self._on_delivery, self._keep, self._tls = on_delivery, keep, tls
        self._attempts = AttemptCounter()
        self._count = 0
        self._connections = 0
        self._open: set[Connection] = set()
        self._records: list[Received] = []
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="receiver", daemon=True)
        self._bound: Future[int] = Future()
        self._thread.start()
        try:
            self.port = self._bound.result(_START_S)
        except OSError as error:
            self._thread.join()
            why = os.strerror(error.errno) if error.errno else str(error)
            raise Unavailable(
                f"the receiver cannot listen at {host}:{port}: {why}; choose another address by --host and --port"
            ) from error

    @property
    def url(self) -> str:
        """Return the root URL, with a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/"

    @property
    def requests(self) -> list[Received]:
        """Return what has come so far, in order of arrival."""
        with self._arrived:
            return list(self._records)

    @property
    def open_connections(self) -> int:
        """Return how many connections are open now."""
        return len(self._open)

    def wait_for(
        self, count: int, deadline_s: float = 60.0, where: Callable[[Received], bool] = lambda _: True
    ) -> list[Received]:
        """Wait until `count` requests (of those that `where` takes) have come, and return all of them that have.

        AssertionError after `deadline_s` seconds says how many came.
        """
        with self._arrived:
            enough = self._arrived.wait_for(lambda: sum(map(where, self._records)) >= count, deadline_s)
            found = [record for record in self._records if where(record)]
        if not enough:
            raise AssertionError(f"{len(found)} of {count} requests came within {deadline_s:g} s")
        return found

    def clear(self) -> None:
        """Forget what has come, and how often; `number` starts anew."""

        def forget() -> None:
            with self._arrived:
                self._records.clear()
                self._attempts, self._count = AttemptCounter(), 0

        self._in_loop(forget)

    def drop_connections(self) -> None:
        """Close all connections that are open, as a restarting endpoint does."""

        def drop() -> None:
            for connection in list(self._open):
                connection.abort()

        self._in_loop(drop)

    def close(self) -> None:
        """Stop listening, close all connections and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _in_loop(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(_START_S)

    def _serve(self) -> None:
        loop = self._loop
        try:
            server = loop.run_until_complete(
                loop.create_server(
                    lambda: Connection(self), self.host, self.port, ssl=self._tls, backlog=_BACKLOG, reuse_address=True
                )
            )
        except OSError as error:
            loop.close()
            self._bound.set_exception(error)
            return
        self._bound.set_result(server.sockets[0].getsockname()[1])
        try:
            loop.run_forever()
        finally:
            server.close()
            for connection in list(self._open):
                connection.abort()
            loop.run_until_complete(_leave(server))
            loop.close()

    def take(self, request: Head, body: bytes, connection: int) -> Reply:
        """Record a request and decide on its reply; called in the receiver's thread."""
        self._count += 1
        event_id = event_id_of(body) or next((v for k, v in request.headers if k.lower() in _ID_HEADERS), None)
        received = Received(
            number=self._count,
            attempt=self._attempts.count(request.path, event_id, body),
            arrived_at=time.time(),
            arrived_monotonic=time.monotonic(),
            connection=connection,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=body,
            event_id=event_id,
        )
        if self.verify is not None and (problem := self.verify(received)) is not None:
            received = replace(received, problem=problem)
        reply = self.behave(received)
        with self._arrived:
            if self._keep:
                self._records.append(received)
            self._arrived.notify_all()
        if self._on_delivery is not None:
            self._on_delivery(received, reply)
        return reply

    def connected(self, connection: Connection) -> int:
        """Note a new connection and return its number."""
        self._open.add(connection)
        self._connections += 1
        return self._connections

    def disconnected(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)


async def _leave(server: asyncio.Server) -> None:
    """Let connections and tasks end, so that nothing is left to complain about."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), 1)

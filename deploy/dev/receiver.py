"""An HTTP/1.1 endpoint for webhooks. It records requests, verifies them, and misbehaves on request.

It runs an event loop in its own thread and listens on loopback by default. `signpost receiver`, the demo and tests use
it.
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

from deploy.dev.connection import ReceiverConnection
from deploy.dev.http1 import Head
from deploy.dev.responses import AttemptCounter, Behaviour, CannedResponse, Received, Reply, always, event_id_of
from schemas.catalog.errors import Unavailable

Verify: TypeAlias = Callable[[Received], str | None]
OnDelivery: TypeAlias = Callable[[Received, Reply], None]
# Headers with an id that is the same in all attempts, for bodies without `event_id`.
_ID_HEADERS: Final = ("webhook-id", "x-event-id")
_BACKLOG: Final = 1024
_START_S: Final = 10.0


class Receiver:
    """An endpoint that listens from construction to `close()`.

    `behave` chooses the reply to each request and may be replaced at any time. `verify` returns what is wrong with a
    request, None if it is genuine. `on_delivery` is called for each request, in the receiver's thread. With `keep` the
    receiver records all requests.
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
        self.behave = behave or always(CannedResponse())
        self.verify = verify
        self.host = host
        self.port = port
        self._on_delivery = on_delivery
        self._keep = keep
        self._tls = tls
        self._attempts = AttemptCounter()
        self._count = 0
        self._connections = 0
        self._open: set[ReceiverConnection] = set()
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
        """The root URL, with a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}/"

    @property
    def requests(self) -> list[Received]:
        """All requests so far, in order of arrival."""
        with self._arrived:
            return list(self._records)

    @property
    def open_connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def wait_for(
        self, count: int, deadline_s: float = 180.0, where: Callable[[Received], bool] = lambda _: True
    ) -> list[Received]:
        """Wait for `count` requests that match `where`; return all that match.

        AssertionError after `deadline_s` seconds, with the number that came.
        """
        with self._arrived:
            enough = self._arrived.wait_for(lambda: sum(map(where, self._records)) >= count, deadline_s)
            found = [record for record in self._records if where(record)]
        if not enough:
            raise AssertionError(f"{len(found)} of {count} requests came within {deadline_s:g} s")
        return found

    def clear(self) -> None:
        """Forget all requests and attempts; `number` starts at 1 again."""

        def forget() -> None:
            with self._arrived:
                self._records.clear()
                self._attempts = AttemptCounter()
                self._count = 0

        self._in_loop(forget)

    def drop_connections(self) -> None:
        """Close all open connections, as an endpoint does when it restarts."""

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
                    lambda: ReceiverConnection(self),
                    self.host,
                    self.port,
                    ssl=self._tls,
                    backlog=_BACKLOG,
                    reuse_address=True,
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
            loop.run_until_complete(_end_tasks(server))
            loop.close()

    def on_request(self, request: Head, body: bytes, connection: int) -> Reply:
        """Record a request and return the reply to it (RequestHandler)."""
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

    def on_connect(self, connection: ReceiverConnection) -> int:
        """Register a new connection and return its number (RequestHandler)."""
        self._open.add(connection)
        self._connections += 1
        return self._connections

    def on_disconnect(self, connection: ReceiverConnection) -> None:
        """Remove a closed connection (RequestHandler)."""
        self._open.discard(connection)


async def _end_tasks(server: asyncio.Server) -> None:
    """End connections and tasks, so that asyncio logs no warnings about pending ones."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), 1)

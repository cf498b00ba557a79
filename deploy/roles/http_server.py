"""The HTTP server of the API: uvicorn on a socket of this process, stopped by the process's own signals.

The application limits requests. The server limits what arrives before a request is known, for which uvicorn has no
limits: the bytes and the time of its headers, and connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CHECK_S: Final = 0.05
_KEEP_ALIVE_S: Final = 65  # longer than the idle timeout of usual load balancers
_MAX_CONNECTIONS: Final = 4_096
_MAX_HEAD: Final = 64 * 1024
_HEAD_S: Final = 10.0


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket, with its actual port."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(app: ASGIApp, listening: socket.socket, stopping: Callable[[], bool], drain: timedelta) -> None:
    """Serve until `stopping`, which is called 20 times a second; then answer the requests under way for `drain`."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(drain.total_seconds()),
    )
    server = _Server(config)

    async def run() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not serving.done() and not stopping():
            await asyncio.wait([serving], timeout=_CHECK_S)
        server.should_exit = True
        await serving

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


class _Protocol(HttpToolsProtocol):
    """A connection whose request line and headers have to arrive in time, and in 64 KiB."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for a request; close the connection at once if there are too many."""
        if len(self.connections) >= _MAX_CONNECTIONS:
            self.transport = transport
            transport.close()
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the deadline."""
        self._on_head_end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes; close the connection if they are too many for a head that is still incomplete."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is not None and self._head_bytes > _MAX_HEAD:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request."""
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Run the request."""
        self._on_head_end()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._on_head_end()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_S, self.transport.close)

    def _on_head_end(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = None

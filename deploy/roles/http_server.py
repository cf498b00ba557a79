"""The HTTP server of the API: uvicorn on a socket of this process, stopped by the process's own signals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import uvicorn
from starlette.types import ASGIApp

_CHECK_S: Final = 0.05
# Requests under way at most. A further one gets 503 at once.
_MAX_REQUESTS: Final = 1_000
_KEEP_ALIVE_S: Final = 65  # longer than the idle timeout of usual load balancers


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket, with its actual port."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


def serve(app: ASGIApp, listening: socket.socket, stopping: Callable[[], bool], drain: timedelta) -> None:
    """Serve until `stopping`, which is called 20 times a second; then answer the requests under way for `drain`."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_REQUESTS,
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

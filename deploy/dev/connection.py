"""One connection of the receiver: requests come in, replies go out, one after the other and in order."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from deploy.dev.http1 import BadRequest, Head, RequestReader
from deploy.dev.replies import Answer, Cut, Drip, Endless, Hang, Reply, head

_MAX_BODY: Final = 16 * 1024 * 1024


class Desk(Protocol):
    """Where a connection hands in what came; all calls come from the event loop's thread."""

    def connected(self, connection: Connection) -> int:
        """Note a new connection and return its number."""

    def disconnected(self, connection: Connection) -> None:
        """Forget a connection that is closed."""

    def take(self, request: Head, body: bytes, connection: int) -> Reply:
        """Record a request and decide on its reply."""


class Connection(asyncio.Protocol):
    """One connection: requests are answered one after the other, in order."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reader = RequestReader(_MAX_BODY)
        self._transport: asyncio.Transport
        self._number = 0
        self._busy: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._desk.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End (asyncio.Protocol)."""
        self._desk.disconnected(self)
        self._writable.set()
        if self._busy is not None:
            self._busy.cancel()

    def pause_writing(self) -> None:
        """Hold an endless reply: the other side does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let an endless reply go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio.Protocol)."""
        self._reader.feed(data)
        self._go_on()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Take all requests that are complete; one with a slow reply holds up those behind it."""
        try:
            while self._busy is None and not self._transport.is_closing():
                request = self._reader.next_request()
                if self._reader.wants_continue():
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if request is None:
                    return
                self._respond(*request)
        except BadRequest as error:
            self._transport.write(head(error.status, [("Content-Length", "0"), ("Connection", "close")]))
            self._transport.close()

    def _respond(self, request: Head, body: bytes) -> None:
        reply = self._desk.take(request, body, self._number)
        if isinstance(reply, Answer) and not reply.delay:  # by far the most: without a task
            self._finish(request, reply)
            return
        self._busy = asyncio.get_running_loop().create_task(self._respond_slowly(request, reply))

    def _finish(self, request: Head, answer: Answer) -> None:
        self._transport.write(answer.encode())
        if not request.keep_alive or _closes(answer):
            self._transport.close()

    async def _respond_slowly(self, request: Head, reply: Reply) -> None:
        match reply:
            case Answer(delay=delay):
                await asyncio.sleep(delay.total_seconds())
                self._finish(request, reply)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Drip(answer=answer, interval=interval):
                for byte in answer.encode():
                    self._transport.write(bytes((byte,)))
                    await asyncio.sleep(interval.total_seconds())
            case Endless(status=status, headers=headers, chunk=chunk, interval=interval):
                self._transport.write(head(status, headers))
                while True:
                    self._transport.write(chunk)
                    await self._writable.wait()
                    await asyncio.sleep(interval.total_seconds())
            case Cut(answer=answer, after=after):
                self._transport.write(answer.encode()[:after])
                self._transport.close()
        self._busy = None
        self._go_on()


def _closes(answer: Answer) -> bool:
    """Tell whether an answer announces that it closes the connection."""
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in answer.headers)

"""One connection of the receiver: it handles requests one after the other, in order."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from deploy.dev.http1 import BadRequest, Head, RequestReader
from deploy.dev.responses import CannedResponse, Drip, Endless, Hang, Reply, Truncated, head

_MAX_BODY: Final = 16 * 1024 * 1024


class RequestHandler(Protocol):
    """The receiver, as its connections use it. All calls come from the event loop's thread."""

    def on_connect(self, connection: ReceiverConnection) -> int:
        """Register a new connection and return its number."""

    def on_disconnect(self, connection: ReceiverConnection) -> None:
        """Remove a closed connection."""

    def on_request(self, request: Head, body: bytes, connection: int) -> Reply:
        """Record a request and return the reply to it."""


class ReceiverConnection(asyncio.Protocol):
    """One connection. A slow reply delays the requests behind it."""

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler
        self._reader = RequestReader(_MAX_BODY)
        self._transport: asyncio.Transport
        self._number = 0
        self._slow_reply: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve the connection (asyncio.Protocol)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._number = self._handler.on_connect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel a slow reply (asyncio.Protocol)."""
        self._handler.on_disconnect(self)
        self._writable.set()
        if self._slow_reply is not None:
            self._slow_reply.cancel()

    def pause_writing(self) -> None:
        """Pause an endless reply: the client does not read (asyncio.Protocol)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Continue an endless reply (asyncio.Protocol)."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse bytes and handle complete requests (asyncio.Protocol)."""
        self._reader.feed(data)
        self._handle_requests()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _handle_requests(self) -> None:
        """Handle all complete requests, up to one with a slow reply."""
        try:
            while self._slow_reply is None and not self._transport.is_closing():
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
        reply = self._handler.on_request(request, body, self._number)
        if isinstance(reply, CannedResponse) and not reply.delay:  # the usual case needs no task
            self._finish(request, reply)
            return
        self._slow_reply = asyncio.get_running_loop().create_task(self._respond_slowly(request, reply))

    def _finish(self, request: Head, response: CannedResponse) -> None:
        self._transport.write(response.encode())
        if not request.keep_alive or _closes(response):
            self._transport.close()

    async def _respond_slowly(self, request: Head, reply: Reply) -> None:
        match reply:
            case CannedResponse(delay=delay):
                await asyncio.sleep(delay.total_seconds())
                self._finish(request, reply)
            case Hang():
                await asyncio.get_running_loop().create_future()
            case Drip(response=response, interval=interval):
                for byte in response.encode():
                    self._transport.write(bytes((byte,)))
                    await asyncio.sleep(interval.total_seconds())
            case Endless(status=status, headers=headers, chunk=chunk, interval=interval):
                self._transport.write(head(status, headers))
                while True:
                    self._transport.write(chunk)
                    await self._writable.wait()
                    await asyncio.sleep(interval.total_seconds())
            case Truncated(response=response, after=after):
                self._transport.write(response.encode()[:after])
                self._transport.close()
        self._slow_reply = None
        self._handle_requests()


def _closes(response: CannedResponse) -> bool:
    """Return whether a response has `Connection: close`."""
    return any(name.lower() == "connection" and value.lower() == "close" for name, value in response.headers)

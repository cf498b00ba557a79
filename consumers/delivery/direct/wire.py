"""A request as it goes out."""

from __future__ import annotations

from typing import Final

from consumers.delivery.answer import Request

# URLs of which it is remembered how a request to them begins.
_MAX_BEGINNINGS: Final = 10_000


class Wire:
    """Writes requests: the given lines, Host and Content-Length, and nothing else."""

    def __init__(self) -> None:
        self._beginnings: dict[str, bytes] = {}

    def bytes_of(self, request: Request) -> bytes:
        """Return a request; its header lines hold no line break (the transport has looked)."""
        url, body = request.target.url, request.body
        beginning = self._beginnings.get(url)
        if beginning is None:
            if len(self._beginnings) >= _MAX_BEGINNINGS:
                self._beginnings.clear()
            authority, slash, rest = url.partition("://")[2].partition("/")
            beginning = self._beginnings[url] = f"POST {slash}{rest} HTTP/1.1\r\nHost: {authority}".encode("ascii")
        lines = b"\r\n".join([beginning, *request.headers])
        return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)

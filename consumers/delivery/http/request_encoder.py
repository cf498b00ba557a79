"""Encodes a request as HTTP/1.1."""

from __future__ import annotations

from typing import Final

from consumers.delivery.http.types import Request

# Maximum number of URLs whose request line and Host are cached.
_MAX_URLS: Final = 10_000


class RequestEncoder:
    """Encodes the given header lines, Host and Content-Length, and nothing else."""

    def __init__(self) -> None:
        self._beginnings: dict[str, bytes] = {}

    def encode(self, request: Request) -> bytes:
        """Return the bytes of a request. The client has checked that its header lines hold no line breaks."""
        url = request.target.url
        body = request.body
        beginning = self._beginnings.get(url)
        if beginning is None:
            if len(self._beginnings) >= _MAX_URLS:
                self._beginnings.clear()
            authority, slash, rest = url.partition("://")[2].partition("/")
            beginning = self._beginnings[url] = f"POST {slash}{rest} HTTP/1.1\r\nHost: {authority}".encode("ascii")
        lines = b"\r\n".join([beginning, *request.headers])
        return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)

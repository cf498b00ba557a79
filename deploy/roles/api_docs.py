"""The documents of the API, as files under /docs. They are public, and need no API key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# The pages have no scripts, forms or frames, and nothing from elsewhere.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file with its path and media type."""

    path: str
    media_type: str
    body: bytes


def add_docs(app: FastAPI, files: Iterable[File]) -> None:
    """Serve files for GET and HEAD. They come before the paths of the API, none of which begins with /docs."""
    app.router.routes[0:0] = [Route(file.path, _endpoint(file), methods=["GET"]) for file in files]


def _endpoint(file: File) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_: Request) -> Response:
        return Response(file.body, 200, HEADERS, media_type=file.media_type)

    return serve

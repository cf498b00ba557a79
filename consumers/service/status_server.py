"""Status of a role over HTTP: /metrics for Prometheus, /healthz and /readyz for its supervisor.

A role may add JSON pages: delivery has /endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SHUT_RDWR, socket
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry

from consumers.service.exposition import Exposition
from schemas.catalog.errors import InvalidInput, Unavailable

# Returns None for yes, otherwise a sentence with the reason why not.
Check: TypeAlias = Callable[[], str | None]
# Gets the query and returns JSON; InvalidInput if the query is wrong, Unavailable if there is no response now.
Page: TypeAlias = Callable[[Mapping[str, str]], bytes]
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_MAX_FIELDS: Final = 10
# Bounds the descriptors and threads of clients: deliveries need theirs.
_MAX_CLIENTS: Final = 64
_NO_PAGES: Final[Mapping[str, Page]] = {}


def _yes() -> str | None:
    return None


class StatusServer:
    """Serves in its own thread, until `close` or the end of the process.

    `listen` is host:port (port 0: any free port). `ready` returns why the role is not ready, `alive` why it should be
    restarted. `pages` are the role's own, by path. The server's threads call all of them. Unavailable if the address
    cannot be used.
    """

    def __init__(
        self,
        listen: str,
        registry: CollectorRegistry,
        ready: Check,
        alive: Check = _yes,
        pages: Mapping[str, Page] = _NO_PAGES,
    ) -> None:
        host, separator, port = listen.rpartition(":")
        if not separator or not port.isdecimal() or int(port) > 65535:
            raise InvalidInput(f"{listen!r} is not host:port, such as 127.0.0.1:9464")
        host = host.strip("[]")
        try:
            self._server = _Server((host, int(port)), _handler(registry, {"/healthz": alive, "/readyz": ready}, pages))
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {listen}: {error.strerror}; choose another address with the settings router_listen "
                "and deliver_listen (port 0 takes any free port)"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="status", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """URL of the server, with its actual port."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if self._server.address_family == AF_INET6 else f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The process must not wait at exit for the thread of a client that never completes its request.
    block_on_close = False
    # Accept queue: with the library's 5 the system would refuse a burst of probes and scrapes.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        self._clients: dict[socket, None] = {}
        self._changing = Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client; beyond the maximum, shut down the oldest connection, which is slow to send its request."""
        with self._changing:
            self._clients[request] = None
            oldest = next(iter(self._clients)) if len(self._clients) > _MAX_CLIENTS else None
            if oldest is not None:
                del self._clients[oldest]
        if oldest is not None:
            with suppress(OSError):  # it has just ended
                oldest.shutdown(SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection of a served client."""
        with self._changing:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: scrapers may disconnect at any time."""


def _page(page: Page, query: str) -> tuple[HTTPStatus, str, bytes]:
    """Return status, content type and body."""
    try:
        return HTTPStatus.OK, _JSON, page(dict(parse_qsl(query, max_num_fields=_MAX_FIELDS)))
    except (InvalidInput, ValueError) as error:  # parse_qsl raises ValueError
        return HTTPStatus.BAD_REQUEST, _TEXT, f"{error}\n".encode()
    except Unavailable as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{error}\n".encode()


def _handler(
    registry: CollectorRegistry, checks: Mapping[str, Check], pages: Mapping[str, Page]
) -> type[BaseHTTPRequestHandler]:
    paths = ["/metrics", *checks, *pages]
    exposition = Exposition(registry)

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds for a client to send its request
        server_version = "signpost"
        sys_version = ""

        def do_GET(self) -> None:
            """Serve one of the paths."""
            path, _, query = self.path.partition("?")
            if path == "/metrics":
                accept = ",".join(self.headers.get_all("Accept", []))
                self._respond(HTTPStatus.OK, *exposition.render(accept))
            elif path in checks:
                why_not = checks[path]()
                status = HTTPStatus.OK if why_not is None else HTTPStatus.SERVICE_UNAVAILABLE
                self._respond(status, _TEXT, f"{why_not or 'ok'}\n".encode())
            elif path in pages:
                self._respond(*_page(pages[path], query))
            else:
                self._respond(HTTPStatus.NOT_FOUND, _TEXT, f"not found; paths: {', '.join(paths)}\n".encode())

        do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

        def _respond(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name that http.server gives it
            """Log nothing: probes come every few seconds."""

    return Handler

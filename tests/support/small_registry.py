"""A small schema registry: the part of Confluent's REST API that publishers and the router use, for any machine.

It serves HTTP and keeps schemas in memory. It can be slow, silent, away, and respond with anything.
"""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import fastavro

Response: TypeAlias = tuple[int, Any]
"""Status, and JSON; bytes are sent as they are."""
Override: TypeAlias = Callable[[str], Response | None]
"""Takes a path; returns a response, or None for the registry's own."""

_NO_SUBJECT: Final = (404, {"error_code": 40401, "message": "Subject not found."})
_NO_VERSION: Final = (404, {"error_code": 40402, "message": "Version not found."})
_NO_SCHEMA: Final = (404, {"error_code": 40403, "message": "Schema not found"})
_UNAUTHORIZED: Final = (401, {"error_code": 401, "message": "Unauthorized"})
_NO_PATH: Final = (404, {"error_code": 404, "message": "HTTP 404 Not Found"})


class Reference(NamedTuple):
    """A reference to a version of a subject, which defines the type `name`."""

    name: str
    subject: str
    version: int = 1


class SmallRegistry:
    """A registry at `url`. `respond` replaces its responses, `requests` counts the paths that it was asked for.

    With `password` ("user:password") it requires one.
    """

    def __init__(self) -> None:
        self.respond: Override | None = None
        self.password: str | None = None
        self.requests: Counter[str] = Counter()
        self._schemas: list[dict[str, Any]] = []
        self._subjects: dict[str, list[int]] = {}
        self._running = threading.Event()
        self._running.set()
        self._lock = threading.Lock()
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        registry = self

        class Handler(_Handler):
            of = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="registry", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections until `start`."""
        self._running.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def stand_still(self) -> None:
        """Accept requests, but do not respond until `go_on`."""
        self._running.clear()

    def go_on(self) -> None:
        """Respond again, also to the requests that wait."""
        self._running.set()

    def register(
        self, subject: str, schema: Any, references: Sequence[Reference] = (), schema_type: str = "AVRO"
    ) -> int:
        """Register the next version of a subject; return the id of the schema."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        entry: dict[str, Any] = {"schema": text}
        if schema_type != "AVRO":
            entry["schemaType"] = schema_type
        if references:
            entry["references"] = [one._asdict() for one in references]
        return self._add(subject, entry)

    def _add(self, subject: str, entry: dict[str, Any]) -> int:
        with self._lock:
            if entry not in self._schemas:
                self._schemas.append(entry)
            schema_id = self._schemas.index(entry) + 1
            versions = self._subjects.setdefault(subject, [])
            if schema_id not in versions:
                versions.append(schema_id)
            return schema_id

    def handle(self, method: str, path: str, body: bytes, authorization: str | None) -> Response:
        """Return the response to a request."""
        self.requests[path] += 1
        self._running.wait()
        if self.password is not None and authorization != f"Basic {b64encode(self.password.encode()).decode()}":
            return _UNAUTHORIZED
        if self.respond is not None and (response := self.respond(path)) is not None:
            return response
        if path == "/subjects":
            return 200, sorted(self._subjects)
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            schema_id = int(found[1])
            return (200, self._schemas[schema_id - 1]) if 1 <= schema_id <= len(self._schemas) else _NO_SCHEMA
        if found := re.fullmatch(r"/subjects/([^/]+)/versions(?:/(\d+|latest))?", path):
            subject = unquote(found[1])
            return self._register(subject, json.loads(body)) if method == "POST" else self._version(subject, found[2])
        return _NO_PATH

    def _register(self, subject: str, wanted: dict[str, Any]) -> Response:
        entry = {name: value for name, value in wanted.items() if name in ("schema", "schemaType", "references")}
        try:
            if not entry.get("references"):
                fastavro.parse_schema(json.loads(entry["schema"]))
        except Exception as error:  # fastavro raises errors of many types
            return 422, {"error_code": 42201, "message": f"Invalid schema: {error}"}
        return 200, {"id": self._add(subject, entry)}

    def _version(self, subject: str, version: str | None) -> Response:
        ids = self._subjects.get(subject)
        if ids is None:
            return _NO_SUBJECT
        if version is None:
            return 200, list(range(1, len(ids) + 1))
        number = len(ids) if version == "latest" else int(version)
        if not 1 <= number <= len(ids):
            return _NO_VERSION
        schema_id = ids[number - 1]
        return 200, {"subject": subject, "version": number, "id": schema_id, **self._schemas[schema_id - 1]}


class _Handler(BaseHTTPRequestHandler):
    of: ClassVar[SmallRegistry]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        path, body = urlsplit(self.path).path, self.rfile.read(length)
        status, value = self.of.handle(self.command, path, body, self.headers.get("Authorization"))
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # `stop` ends idle connections too
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keep the output of tests clean."""


@contextmanager
def running_registry() -> Iterator[SmallRegistry]:
    """Run a registry."""
    registry = SmallRegistry()
    try:
        yield registry
    finally:
        registry.stop()

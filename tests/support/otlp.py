"""An OTLP/HTTP receiver for tests: it decodes exported spans with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """A span as it was exported; ids are hexadecimal, `kind` is `CLIENT`, `CONSUMER`, …"""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    links: tuple[tuple[str, str], ...]  # trace id and span id
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, str | int] = field(hash=False)


class OtlpReceiver:
    """Listens on loopback until `close`. It answers with `status`, and never while `hangs` is set."""

    def __init__(self) -> None:
        self.status = 200
        self.hangs = False
        self._released = threading.Event()
        self._arrived = threading.Condition()
        self._spans: list[CollectedSpan] = []
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = owner._take(self.path, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[CollectedSpan]:
        """All spans so far."""
        with self._arrived:
            return list(self._spans)

    def of(self, trace_id: str) -> list[CollectedSpan]:
        """Return the spans of a trace, in the order of their starts."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start_ns)

    def wait_for(self, count: int, trace_id: str, deadline_s: float = 60.0) -> list[CollectedSpan]:
        """Wait for this number of spans of a trace; return all of them, in the order of their starts."""
        with self._arrived:
            enough = self._arrived.wait_for(
                lambda: sum(span.trace_id == trace_id for span in self._spans) >= count, deadline_s
            )
        found = self.of(trace_id)
        if not enough:
            names = [f"{span.service}: {span.name}" for span in found]
            raise AssertionError(f"{len(found)} of {count} spans came within {deadline_s:g} s: {names}")
        return found

    def close(self) -> None:
        """Stop listening."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, path: str, body: bytes) -> int:
        with self._arrived:
            self.requests += 1
            self._arrived.notify_all()
        if self.hangs:
            self._released.wait()
        if path != PATH:
            return 404
        if self.status == 200:
            with self._arrived:
                self._spans += _spans_of(ExportTraceServiceRequest.FromString(body))
                self._arrived.notify_all()
        return self.status


def _spans_of(request: ExportTraceServiceRequest) -> Iterator[CollectedSpan]:
    for of_resource in request.resource_spans:
        service = str(_attributes(of_resource.resource.attributes)["service.name"])
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _collected(service, span)


def _collected(service: str, span: Span) -> CollectedSpan:
    return CollectedSpan(
        service=service,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        state=span.trace_state,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: object) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for pair in pairs:  # type: ignore[attr-defined]  # a repeated field of protobuf
        assert isinstance(pair, KeyValue)
        value = pair.value
        found[pair.key] = value.int_value if value.HasField("int_value") else value.string_value
    return found

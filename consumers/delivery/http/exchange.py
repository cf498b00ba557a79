"""One request and its response: their state, and the outcome when they end. No I/O."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from consumers.delivery.http.connection import Connection, Key
from consumers.delivery.http.failures import printable
from consumers.delivery.http.resolver import Addresses, Failed, Refused, Resolution
from consumers.delivery.http.response_parser import BadResponse, ResponseParser, TooLarge
from consumers.delivery.http.tls import tls_failure
from consumers.delivery.http.types import (
    OVERLOADED_STATUSES,
    TOO_LARGE,
    Request,
    Response,
    ResponseOrError,
    TransportError,
    response_without_retry_after,
)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request under way. Without `addresses` it waits for DNS, without `connection` for a connection.

    Times are monotonic, in seconds. `confirmed_s` is when the caller started or last confirmed the request.
    """

    request: Request
    key: Key
    started: float
    deadline: float
    confirmed_s: float
    addresses: Addresses | None = None
    connection: Connection | None = None
    unsent: memoryview | None = None  # the rest of the request, if one write was not enough
    parser: ResponseParser | None = None  # set if the response was not complete in one read

    @property
    def leaves_connection(self) -> bool:
        """Whether the connection can take another request. Valid once the response is complete."""
        return self.parser is not None and self.parser.keep_alive and self.unsent is None

    def receive(self, data: bytes) -> ResponseOrError | None:
        """Parse the next bytes of the response, b"" at its end. Return the response once it is complete.

        BadResponse: the connection ended within the response headers.
        """
        if self.parser is None:
            self.parser = ResponseParser()
        try:
            complete = self.parser.feed(data)
        except TooLarge:
            return TOO_LARGE
        except BadResponse as error:
            if data:
                return TransportError("protocol", str(error))
            raise
        return self.response() if complete else None

    def response(self, *, cut: bool = False) -> Response | None:
        """Return the response as received so far; None while its headers are incomplete."""
        parser = self.parser
        if parser is None or not parser.headers_complete:
            return None
        status = parser.status
        body_cut = cut or parser.cut
        if status in OVERLOADED_STATUSES and parser.retry_after is not None:
            return Response(status, printable(parser.retry_after), parser.body, body_cut, parser.not_kept)
        return response_without_retry_after(status, parser.body, cut=body_cut, not_kept=parser.not_kept)

    def may_retry(self) -> bool:
        """Whether the connection had been idle and turned out to be dead: the endpoint has not seen the request."""
        parser = self.parser
        return self.connection is not None and self.connection.used and (parser is None or not parser.begun)

    def overdue(self) -> ResponseOrError:
        """Return the outcome at the deadline: the response so far, or a timeout."""
        response = self.response(cut=True)
        if response is not None:
            return response
        within = f"within {self.request.timeout_ms / 1000:g} s"
        phase = self._phase()
        if phase == "connect":
            return TransportError("timeout_connect", f"no complete connection {within}")
        if phase == "proxy":
            return TransportError("proxy_unreachable", f"no complete connection to the proxy {within}")
        if phase == "tunnel":
            return TransportError("timeout_connect", f"no complete connection through the proxy {within}")
        if phase == "tls":
            return TransportError("timeout_tls", f"no complete TLS handshake {within}")
        return TransportError("timeout_answer", f"no complete response headers {within}")

    def _phase(self) -> str:
        if self.connection is not None:
            return self.connection.phase
        return "proxy" if self.addresses is not None and self.addresses.tunnel_to else "connect"


def resolution_error(found: Resolution) -> TransportError:
    """Return the error for a name that was refused or not resolved."""
    if isinstance(found, Refused):
        return TransportError("blocked_address", found.reason)
    assert isinstance(found, Failed)
    return TransportError(found.kind, found.detail)


def connection_ended(error: OSError | None) -> TransportError:
    """Return the error for a connection that ended before a response; `error` is None if the endpoint closed it."""
    if error is None:
        return TransportError("reset", "the connection ended within the response headers")
    if isinstance(error, ssl.SSLError):  # with TLS 1.3 the alert for a client certificate arrives only now
        return tls_failure(error, "reset")
    return TransportError("reset", f"the connection ended: {printable(error.strerror or str(error))}")

"""A request and its response: how far they have come, and what that means when they end. No I/O."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from consumers.delivery.http.connection import Connection, Key
from consumers.delivery.http.failures import printable
from consumers.delivery.http.resolver import Addresses
from consumers.delivery.http.response_parser import BadResponse, ResponseParser, TooLarge
from consumers.delivery.http.tls import tls_failure
from consumers.delivery.http.types import (
    TOO_LARGE,
    WITH_RETRY_AFTER,
    Request,
    Response,
    ResponseOrError,
    TransportError,
    response_without_retry_after,
)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request under way. Without `addresses` it waits for a name, without `connection` for a connection.

    Times are monotonic, in seconds; `confirmed_s` is when the caller last said that the request may be sent.
    """

    request: Request
    key: Key
    started: float
    deadline: float
    confirmed_s: float
    addresses: Addresses | None = None
    connection: Connection | None = None
    unsent: memoryview | None = None  # the rest of the request, where one write did not take it all
    parser: ResponseParser | None = None  # of a response that was not complete in one read

    @property
    def leaves_connection(self) -> bool:
        """Whether its connection can take another request, once the response is complete."""
        return self.parser is not None and self.parser.keep_alive and self.unsent is None

    def receive(self, data: bytes) -> ResponseOrError | None:
        """Take the next bytes of the response, b"" at its end; return the response once it is complete.

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
        """Return the response as far as it has come; None while its headers are incomplete."""
        parser = self.parser
        if parser is None or not parser.headers_complete:
            return None
        status, cut = parser.status, cut or parser.cut
        if status in WITH_RETRY_AFTER:
            after = parser.retry_after
            return Response(status, None if after is None else printable(after), parser.body, cut)
        return response_without_retry_after(status, parser.body, cut=cut)

    def may_retry(self) -> bool:
        """Whether its connection had been idle and was dead: the endpoint has not seen the request."""
        parser = self.parser
        return self.connection is not None and self.connection.used and (parser is None or not parser.begun)

    def overdue(self) -> ResponseOrError:
        """Return what had come at the deadline."""
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


def connection_ended(error: OSError | None) -> TransportError:
    """Return why a connection ended before there was a response; None: the other side closed it."""
    if error is None:
        return TransportError("reset", "the connection ended within the response headers")
    if isinstance(error, ssl.SSLError):  # with TLS 1.3 an endpoint asks for a client certificate only here
        return tls_failure(error, "reset")
    return TransportError("reset", f"the connection ended: {printable(error.strerror or str(error))}")

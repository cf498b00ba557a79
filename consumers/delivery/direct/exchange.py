"""A request and its response: how far they have come, and what that means when it ends. Pure."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from consumers.delivery.answer import TOO_LARGE, WITH_RETRY_AFTER, Answer, Request, Responded, Unanswered, responded
from consumers.delivery.direct.link import Key, Link
from consumers.delivery.direct.response import BadResponse, ResponseReader, TooLarge
from consumers.delivery.direct.tls import tls_failure
from consumers.delivery.failures import printable
from consumers.delivery.resolver import Addresses


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way. Without a `link` it waits for a connection; times are monotonic, in seconds."""

    request: Request
    to: Addresses
    key: Key
    started: float
    deadline: float
    link: Link | None = None
    rest: memoryview | None = None  # what is still to be sent
    reader: ResponseReader | None = None  # of a response that was not one read

    @property
    def leaves_connection(self) -> bool:
        """Whether its connection can take another request, once its response is over."""
        return self.reader is not None and self.reader.keep_alive and self.rest is None

    def read(self, data: bytes) -> Answer | None:
        """Take in what came of the response, b"" at its end; the answer once there is one.

        BadResponse: the connection ended within the response.
        """
        if self.reader is None:
            self.reader = ResponseReader()
        try:
            over = self.reader.feed(data)
        except TooLarge:
            return TOO_LARGE
        except BadResponse as error:
            if data:
                return Unanswered("protocol", str(error))
            raise
        return self.answer() if over else None

    def answer(self, *, cut: bool = False) -> Responded | None:
        """Return the response as far as it has come; None while its headers are not complete."""
        reader = self.reader
        if reader is None or not reader.headers_complete:
            return None
        status, cut = reader.status, cut or reader.cut
        if status in WITH_RETRY_AFTER:
            after = reader.retry_after
            return Responded(status, None if after is None else printable(after), reader.body, cut)
        return responded(status, reader.body, cut=cut)

    def may_begin_again(self) -> bool:
        """Whether its connection had waited for it, and was dead: nobody has heard the request."""
        reader = self.reader
        return self.link is not None and self.link.used and (reader is None or not reader.begun)

    def late(self) -> Answer:
        """Return what had come at the deadline."""
        answer = self.answer(cut=True)
        if answer is not None:
            return answer
        within = f"within {self.request.timeout_ms / 1000:g} s"
        if self.link is None:
            return Unanswered("timeout_connect", f"no complete connection {within}")
        if not self.link.shaken:
            return Unanswered("timeout_tls", f"no complete TLS handshake {within}")
        return Unanswered("timeout_answer", f"no complete response headers {within}")


def ended_by(error: OSError | None) -> Unanswered:
    """Return why a connection ended before there was an answer; None: the other side closed it."""
    if error is None:
        return Unanswered("reset", "the connection ended within the response headers")
    if isinstance(error, ssl.SSLError):  # who wants a client certificate says so only here, with TLS 1.3
        return tls_failure(error, "reset")
    return Unanswered("reset", f"the connection ended: {printable(error.strerror or str(error))}")

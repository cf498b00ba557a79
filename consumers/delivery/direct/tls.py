"""TLS of the direct carrier: contexts, sessions to resume, and OpenSSL's complaints translated."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

from consumers.delivery.answer import ClientIdentity, Unanswered
from consumers.delivery.failures import kind_of_alert, kind_of_verification, no_socket, printable
from schemas.failures import FailureKind

# Hosts of which a session is kept.
_MAX_SESSIONS: Final = 4_096


class BadIdentity(Exception):  # it is the subscription's
    """A client certificate that OpenSSL does not take."""


class Tls:
    """Makes TLS of connections; `roots` is the file of the authorities that are trusted."""

    def __init__(self, roots: str) -> None:
        self._roots = roots
        self._plain = self._context()
        # A context reads all authorities: 24 ms and 0.8 MB. A connection takes over what its context shows when it is
        # made, so that one does for all client certificates.
        self._showing: ssl.SSLContext | None = None
        self._shown: ClientIdentity | None = None
        self._sessions: dict[tuple[str, int, ClientIdentity | None], ssl.SSLSession] = {}

    def wrap(self, connection: socket.socket, host: str, port: int, identity: ClientIdentity | None) -> ssl.SSLSocket:
        """Return a socket whose handshake is still to be made.

        BadIdentity if the client certificate is none; OSError if the connection has been reset meanwhile.
        """
        return self._context_of(identity).wrap_socket(
            connection,
            server_hostname=host.rstrip("."),
            do_handshake_on_connect=False,
            suppress_ragged_eofs=True,
            session=self._sessions.get((host, port, identity)),
        )

    def remember(self, connection: ssl.SSLSocket, host: str, port: int, identity: ClientIdentity | None) -> None:
        """Keep the session of a connection over which something came; the next one of its kind resumes it."""
        session = connection.session
        if session is not None and session.has_ticket:
            if len(self._sessions) >= _MAX_SESSIONS:
                self._sessions.clear()
            self._sessions[host, port, identity] = session

    def _context_of(self, identity: ClientIdentity | None) -> ssl.SSLContext:
        if identity is None:
            return self._plain
        if self._showing is None:
            self._showing = self._context()
        if self._shown is not identity:
            self._shown = None
            _show(self._showing, identity)
            self._shown = identity
        return self._showing

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self._roots)
        context.set_alpn_protocols(["http/1.1"])
        return context


def _show(context: ssl.SSLContext, identity: ClientIdentity) -> None:
    """Load a client certificate; OpenSSL takes it from a file only, which this one is in memory."""
    file = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as writing:
            writing.write(identity.certificate + b"\n" + identity.key)
        context.load_cert_chain(f"/proc/self/fd/{file}", password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise BadIdentity(f"the client certificate cannot be used: {printable(_words(error))}") from None
    finally:
        os.close(file)


def not_begun(error: BadIdentity | OSError) -> Unanswered:
    """Say why there was no handshake to begin with."""
    if isinstance(error, OSError):
        return no_socket(error) or tls_failure(error, "reset")
    return Unanswered("tls_client_certificate", str(error))


def tls_failure(error: OSError, otherwise: FailureKind = "tls_failed") -> Unanswered:
    """Say why a handshake failed, or what came instead of a response."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unanswered(kind_of_verification(error.verify_code), printable(error.verify_message))
    words = _words(error)
    return Unanswered(kind_of_alert(words, otherwise), f"TLS: {printable(words)}")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return reason or "the connection ended"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)

"""TLS: contexts, session resumption, TLS within TLS, translation of OpenSSL's errors."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from typing import Final

from consumers.delivery.http.failures import kind_of_alert, kind_of_verification, out_of_resources, printable
from consumers.delivery.http.types import ClientIdentity, TransportError
from schemas.catalog.failures import FailureKind

# Maximum number of TLS sessions that are kept.
_MAX_SESSIONS: Final = 4_096
_MAX_RECORD: Final = 16 * 1024
_READ_SIZE: Final = 64 * 1024


class BadIdentity(Exception):
    """OpenSSL does not accept the client certificate of a subscription."""


class TlsInTls:
    """TLS with an endpoint inside of TLS with a proxy, non-blocking. Has the methods of ssl.SSLSocket that are used."""

    def __init__(
        self, context: ssl.SSLContext, outer: ssl.SSLSocket, host: str, session: ssl.SSLSession | None
    ) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)
        self._encrypted = b""  # not sent yet
        self._sending = 0  # bytes of the data given to `send` that `_encrypted` holds

    @property
    def session(self) -> ssl.SSLSession | None:
        """The TLS session with the endpoint, for resumption."""
        return self._inner.session

    def peer_certificate(self) -> bytes | None:
        """Return the endpoint's own certificate in DER, after the handshake."""
        return self._inner.getpeercert(binary_form=True)

    def do_handshake(self) -> None:
        """Continue the handshake; SSLWantReadError or SSLWantWriteError: it has to wait; OSError: it failed."""
        while True:
            try:
                self._inner.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except OSError:
                with contextlib.suppress(OSError):
                    self._flush()  # sends the alert
                raise
            else:
                self._flush()
                return

    def send(self, data: bytes | memoryview) -> int:
        """Send some of the data. After SSLWantWriteError call it again with the same data, as with OpenSSL."""
        if not self._sending:
            self._sending = self._inner.write(data[:_MAX_RECORD])
        self._flush()
        sent, self._sending = self._sending, 0
        return sent

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, b"" at the end; SSLWantReadError: there is no data yet."""
        while True:
            try:
                return self._inner.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLEOFError:
                return b""
            except ssl.SSLZeroReturnError:
                return b""

    def close(self) -> None:
        """Close the connection."""
        self._outer.close()

    def fileno(self) -> int:
        """The descriptor of the connection."""
        return self._outer.fileno()

    def _flush(self) -> None:
        self._encrypted += self._outgoing.read()
        while self._encrypted:
            sent = self._outer.send(self._encrypted)
            self._encrypted = self._encrypted[sent:]

    def _fill(self) -> None:
        data = self._outer.recv(_READ_SIZE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()


class TlsContexts:
    """Starts TLS on connections. `roots` is the file of trusted authorities."""

    def __init__(self, roots: str) -> None:
        self._roots = roots
        self._plain = self._new_context()
        # A context loads all authorities, which takes 24 ms and 0.8 MB, so one context serves all client certificates:
        # a connection copies the certificate that its context holds when the connection is made.
        self._with_identity: ssl.SSLContext | None = None
        self._loaded: ClientIdentity | None = None
        self._sessions: dict[tuple[str, int, ClientIdentity | None], ssl.SSLSession] = {}

    def wrap(
        self, stream: socket.socket | ssl.SSLSocket, host: str, port: int, identity: ClientIdentity | None
    ) -> ssl.SSLSocket | TlsInTls:
        """Return a TLS stream before its handshake.

        BadIdentity: OpenSSL does not accept the client certificate. OSError: the connection was reset meanwhile.
        """
        context = self._context_of(identity)
        session = self._sessions.get((host, port, identity))
        name = host.rstrip(".")
        if isinstance(stream, ssl.SSLSocket):
            return TlsInTls(context, stream, name, session)
        return context.wrap_socket(
            stream, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=True, session=session
        )

    def wrap_for_proxy(self, stream: socket.socket, host: str) -> ssl.SSLSocket:
        """Return a TLS stream to a proxy before its handshake; OSError: the connection was reset meanwhile."""
        return self._plain.wrap_socket(
            stream, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

    def remember(self, stream: ssl.SSLSocket | TlsInTls, host: str, port: int, identity: ClientIdentity | None) -> None:
        """Keep the TLS session of a connection that got a response; the next connection of its kind resumes it."""
        session = stream.session
        if session is not None and session.has_ticket:
            if len(self._sessions) >= _MAX_SESSIONS:
                self._sessions.clear()
            self._sessions[host, port, identity] = session

    def _context_of(self, identity: ClientIdentity | None) -> ssl.SSLContext:
        if identity is None:
            return self._plain
        if self._with_identity is None:
            self._with_identity = self._new_context()
        if self._loaded is not identity:
            self._loaded = None
            _load(self._with_identity, identity)
            self._loaded = identity
        return self._with_identity

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self._roots)
        context.set_alpn_protocols(["http/1.1"])
        return context


@contextlib.contextmanager
def file_in_memory(content: bytes) -> Iterator[str]:
    """Yield the path of a file in memory."""
    file = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with open(file, "wb", closefd=False) as writing:
            writing.write(content)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


@contextlib.contextmanager
def temporary_file(content: bytes) -> Iterator[str]:
    """Yield the path of a temporary file that only this user can read."""
    with tempfile.NamedTemporaryFile(prefix="identity-") as file:  # mode 0600
        file.write(content)
        file.flush()
        yield file.name


# OpenSSL loads a client certificate from a file only.
private_file = file_in_memory if hasattr(os, "memfd_create") else temporary_file


def _load(context: ssl.SSLContext, identity: ClientIdentity) -> None:
    with private_file(identity.certificate + b"\n" + identity.key) as path:
        try:
            context.load_cert_chain(path, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            raise BadIdentity(f"the client certificate cannot be used: {printable(reason_of(error))}") from None


def peer_certificate(stream: ssl.SSLSocket | TlsInTls) -> bytes | None:
    """Return the endpoint's own certificate in DER, after the handshake."""
    return stream.peer_certificate() if isinstance(stream, TlsInTls) else stream.getpeercert(binary_form=True)


def not_started(error: BadIdentity | OSError) -> TransportError:
    """Return the error for a handshake that could not start."""
    if isinstance(error, OSError):
        return out_of_resources(error) or tls_failure(error, "reset")
    return TransportError("tls_client_certificate", str(error))


def tls_failure(error: OSError, default: FailureKind = "tls_failed") -> TransportError:
    """Return the error for a failed handshake, or for a TLS error in place of a response."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError(kind_of_verification(error.verify_code), printable(error.verify_message))
    reason = reason_of(error)
    return TransportError(kind_of_alert(reason, default), f"TLS: {printable(reason)}")


def reason_of(error: Exception) -> str:
    """Return the reason of OpenSSL or of the system, as text without error numbers."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").replace("_", " ").lower()
        return reason or "the connection ended"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)

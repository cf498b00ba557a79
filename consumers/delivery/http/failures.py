"""Translates errors of the system and of OpenSSL to kinds of failure."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from consumers.delivery.http.types import TransportError
from schemas.catalog.failures import FailureKind

_MAX_DETAIL: Final = 200
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CONNECT_KINDS: Final[dict[int, FailureKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timeout_connect",
}
# OpenSSL's results of verifying a certificate (x509_vfy.h).
_VERIFY_KINDS: Final[dict[int, FailureKind]] = {
    9: "tls_expired",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "tls_expired",  # X509_V_ERR_CERT_HAS_EXPIRED
    62: "tls_hostname",  # X509_V_ERR_HOSTNAME_MISMATCH
    64: "tls_hostname",  # X509_V_ERR_IP_ADDRESS_MISMATCH
}
# TLS alerts of the endpoint (RFC 8446, 6.2), as OpenSSL words them. In TLS 1.3 an alert may arrive after the handshake:
# then a read fails. A TLS 1.2 server may report a missing client certificate as a plain handshake failure.
_ALERTS: Final[tuple[tuple[re.Pattern[str], FailureKind], ...]] = (
    (re.compile(r"alert (protocol version|insufficient security)|unsupported protocol|no protocols"), "tls_version"),
    (
        re.compile(r"alert (certificate|bad certificate|unsupported certificate|unknown ca|access denied)"),
        "tls_client_certificate",
    ),
    (re.compile(r"alert (?!user canceled|close notify)"), "tls_failed"),
)


def kind_of_verification(result: int) -> FailureKind:
    """Return the kind of failure for OpenSSL's result of verifying a certificate."""
    return _VERIFY_KINDS.get(result, "tls_untrusted")


def kind_of_alert(reason: str, default: FailureKind) -> FailureKind:
    """Return the kind of failure for OpenSSL's lower-case `reason`; `default` if that is not an alert."""
    return next((kind for pattern, kind in _ALERTS if pattern.search(reason)), default)


def connect_error(number: int) -> TransportError:
    """Return the error for a failed connect(); `number` is its errno."""
    return TransportError(_CONNECT_KINDS.get(number, "unreachable"), f"no connection: {os.strerror(number)}")


def forbidden_address(reason: str) -> TransportError:
    """Return the error for an address that the egress policy refuses at the time of connecting."""
    return TransportError("blocked_address", f"an address may not be connected to: {reason}")


def out_of_resources(error: OSError) -> TransportError | None:
    """Return an error of our own if this machine is out of sockets or memory; None for any other error."""
    if error.errno in _OUT_OF_RESOURCES:
        return TransportError("local", f"no socket: {error.strerror}")
    return None


def printable(text: str) -> str:
    """Return text for logs and records: printable ASCII, at most 200 characters."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_DETAIL])

"""Errors of the system and of OpenSSL, translated once to kinds of failure."""

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
# OpenSSL's results of a verification (x509_vfy.h): not yet valid, expired, another name.
_VERIFY_KINDS: Final[dict[int, FailureKind]] = {
    9: "tls_expired",
    10: "tls_expired",
    62: "tls_hostname",
    64: "tls_hostname",  # an IP address
}
# Alerts of the endpoint (RFC 8446, 6.2) in OpenSSL's words; in TLS 1.3 an alert may follow the handshake and looks
# like a failed read. A server of TLS 1.2 may call a missing client certificate a plain handshake failure.
_ALERTS: Final[tuple[tuple[re.Pattern[str], FailureKind], ...]] = (
    (re.compile(r"alert (protocol version|insufficient security)|unsupported protocol|no protocols"), "tls_version"),
    (
        re.compile(r"alert (certificate|bad certificate|unsupported certificate|unknown ca|access denied)"),
        "tls_client_certificate",
    ),
    (re.compile(r"alert (?!user canceled|close notify)"), "tls_failed"),
)


def kind_of_verification(result: int) -> FailureKind:
    """Return the kind for OpenSSL's result of checking a certificate."""
    return _VERIFY_KINDS.get(result, "tls_untrusted")


def kind_of_alert(reason: str, otherwise: FailureKind) -> FailureKind:
    """Return the kind for OpenSSL's reason of a failure, in lower case; `otherwise` if it is no alert."""
    return next((kind for pattern, kind in _ALERTS if pattern.search(reason)), otherwise)


def connect_error(number: int) -> TransportError:
    """Return the error for the errno of a connection attempt."""
    return TransportError(_CONNECT_KINDS.get(number, "unreachable"), f"no connection: {os.strerror(number)}")


def forbidden_address(reason: str) -> TransportError:
    """Return the error for an address that was refused when it was about to be connected to."""
    return TransportError("blocked_address", f"an address may not be connected to: {reason}")


def out_of_resources(error: OSError) -> TransportError | None:
    """Return the error if this machine has no socket left; None for other errors, such as a missing address family."""
    if error.errno in _OUT_OF_RESOURCES:
        return TransportError("local", f"no socket: {error.strerror}")
    return None


def printable(text: str) -> str:
    """Return text that can be logged: printable ASCII, not too long."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_DETAIL])

"""libcurl's error codes and OpenSSL's words, translated once."""

from __future__ import annotations

import errno
import re
from typing import Final

import pycurl

from consumers.delivery.answer import Unanswered
from schemas.failures import FailureKind

_MAX_DETAIL: Final = 200
# CURLE_TOO_LARGE, which pycurl has no name for: a header line or their number, beyond all bounds.
_TOO_LARGE: Final = 100
_PROXY_AUTHENTICATION: Final = 407

_CODES: Final[dict[FailureKind, tuple[str, ...]]] = {
    "dns": ("COULDNT_RESOLVE_HOST",),
    "unreachable": ("COULDNT_CONNECT", "NO_CONNECTION_AVAILABLE"),
    "tls_untrusted": ("PEER_FAILED_VERIFICATION", "SSL_CACERT", "SSL_ISSUER_ERROR"),
    "tls_client_certificate": ("SSL_CERTPROBLEM",),
    "tls_failed": (
        "SSL_CONNECT_ERROR",
        "SSL_CIPHER",
        "SSL_INVALIDCERTSTATUS",
        "SSL_PINNEDPUBKEYNOTMATCH",
        "SSL_SHUTDOWN_FAILED",
        "USE_SSL_FAILED",
    ),
    "reset": ("GOT_NOTHING", "SEND_ERROR", "RECV_ERROR", "PARTIAL_FILE", "AGAIN", "SEND_FAIL_REWIND"),
    "timeout_connect": ("OPERATION_TIMEDOUT",),  # the only time limit that libcurl has is one for connecting
    "headers_too_large": ("WRITE_ERROR",),  # a callback of ours said stop; where the body was meant, that is an answer
    "proxy_unreachable": ("COULDNT_RESOLVE_PROXY",),
    "local": (
        "FAILED_INIT",
        "OUT_OF_MEMORY",
        "BAD_FUNCTION_ARGUMENT",
        "BAD_CALLING_ORDER",
        "ABORTED_BY_CALLBACK",
        "FUNCTION_NOT_FOUND",
        "NOT_BUILT_IN",
        "UNKNOWN_OPTION",
        "URL_MALFORMAT",
        "READ_ERROR",
        "INTERFACE_FAILED",
        "SSL_CACERT_BADFILE",
        "SSL_CRL_BADFILE",
        "SSL_ENGINE_INITFAILED",
        "SSL_ENGINE_NOTFOUND",
        "SSL_ENGINE_SETFAILED",
    ),
}
_KINDS: Final[dict[int, FailureKind]] = {
    **{getattr(pycurl, f"E_{name}"): kind for kind, names in _CODES.items() for name in names},
    _TOO_LARGE: "headers_too_large",
}
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CONNECT_KINDS: Final[dict[int, FailureKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timeout_connect",
}
# OpenSSL's results of a verification (x509_vfy.h): not yet valid, expired, another name. With 0 (good) and 1 (not told)
# it was libcurl's own check, which is that of the name.
_VERIFIED: Final[dict[int, FailureKind]] = {
    0: "tls_hostname",
    1: "tls_hostname",
    9: "tls_expired",
    10: "tls_expired",
    62: "tls_hostname",
    64: "tls_hostname",  # an IP address
}
# What the other side says of us (RFC 8446, 6.2) in OpenSSL's words; in TLS 1.3 it comes after the handshake, with what
# looks like a failed read. A server of TLS 1.2 may call a certificate that it misses a plain handshake failure.
_ALERTS: Final[tuple[tuple[re.Pattern[str], FailureKind], ...]] = (
    (re.compile(r"alert (protocol version|insufficient security)|unsupported protocol|no protocols"), "tls_version"),
    (
        re.compile(r"alert (certificate|bad certificate|unsupported certificate|unknown ca|access denied)"),
        "tls_client_certificate",
    ),
    (re.compile(r"alert (?!user canceled|close notify)"), "tls_failed"),
)
_OPENSSL: Final = re.compile(r"\bssl|\btls|openssl", re.IGNORECASE)


def kind_of(code: int, os_errno: int, message: str = "", verified: int = 0) -> FailureKind:
    """Return what a CURLcode means; whatever else libcurl may complain of is a breach of HTTP by the receiver.

    `verified` is OpenSSL's result of checking the receiver's certificate.
    """
    kind = _KINDS.get(code, "protocol")
    match kind:
        case "unreachable":
            return kind_of_errno(os_errno)
        case "tls_untrusted":
            return kind_of_verification(verified)
        case "local" if "private key" in message:  # of the client certificate
            return "tls_client_certificate"
        case "tls_failed" | "reset" if _OPENSSL.search(message):
            return kind_of_alert(message, kind)
    return kind


def kind_of_verification(result: int) -> FailureKind:
    """Return what OpenSSL's result of checking a certificate means."""
    return _VERIFIED.get(result, "tls_untrusted")


def kind_of_alert(words: str, otherwise: FailureKind) -> FailureKind:
    """Return what OpenSSL's words about TLS mean, in lower case."""
    return next((kind for pattern, kind in _ALERTS if pattern.search(words)), otherwise)


def kind_of_errno(number: int) -> FailureKind:
    """Return why no connection was made, by its errno."""
    return _CONNECT_KINDS.get(number, "unreachable")


def forbidden_address(reason: str) -> Unanswered:
    """Say that an address was refused where it would have been connected to."""
    return Unanswered("blocked_address", f"an address may not be connected to: {reason}")


def no_socket(error: OSError) -> Unanswered | None:
    """Say that there was no socket for a reason of ours; None: an address family that is not there is the name's."""
    return Unanswered("local", f"no socket: {error.strerror}") if error.errno in _EXHAUSTED else None


def unanswered(code: int, os_errno: int, message: str, verified: int = 0) -> Unanswered:
    """Translate a CURLcode, errno and libcurl's message, in which a receiver's bytes may be quoted."""
    kind = kind_of(code, os_errno, message, verified)
    return Unanswered(kind, printable(message) or f"libcurl error {code}")


def through_proxy(message: str, connect_status: int, is_connected: bool) -> Unanswered | None:
    """Translate what went wrong before the proxy had made a connection; None where it had, or had no part in it."""
    if not is_connected:
        return Unanswered("proxy_unreachable", f"no connection to the proxy: {printable(message)}")
    if connect_status == _PROXY_AUTHENTICATION:
        return Unanswered("proxy_auth", "the proxy refuses the user or password in the setting proxy")
    if connect_status >= 300:
        return Unanswered("proxy_refused", f"the proxy answered CONNECT with {connect_status}")
    return None


def printable(text: str) -> str:
    """Return text that can be logged: printable ASCII, not too long."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_DETAIL])

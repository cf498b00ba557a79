"""libcurl's error codes, translated once."""

from __future__ import annotations

import errno
from typing import Final

import pycurl

from consumers.delivery.answer import FailureKind, Unanswered

_MAX_DETAIL: Final = 200
_TOO_LARGE: Final = (
    100  # CURLE_TOO_LARGE, which pycurl has no name for: a header line or their number, beyond all bounds
)

_CODES: Final[dict[FailureKind, tuple[str, ...]]] = {
    "dns": ("COULDNT_RESOLVE_HOST",),
    "connect": ("COULDNT_CONNECT", "INTERFACE_FAILED", "NO_CONNECTION_AVAILABLE"),
    "tls": (
        "SSL_CONNECT_ERROR",
        "PEER_FAILED_VERIFICATION",
        "SSL_CACERT",
        "SSL_PEER_CERTIFICATE",
        "SSL_CIPHER",
        "SSL_INVALIDCERTSTATUS",
        "SSL_ISSUER_ERROR",
        "SSL_PINNEDPUBKEYNOTMATCH",
        "SSL_SHUTDOWN_FAILED",
        "USE_SSL_FAILED",
    ),
    "reset": ("GOT_NOTHING", "SEND_ERROR", "RECV_ERROR", "PARTIAL_FILE", "AGAIN", "SEND_FAIL_REWIND"),
    "timeout_connect": ("OPERATION_TIMEDOUT",),  # the only time limit that libcurl has is one for connecting
    "headers_too_large": ("WRITE_ERROR",),  # a callback of ours said stop; where the body was meant, that is an answer
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
        "COULDNT_RESOLVE_PROXY",
        "SSL_CERTPROBLEM",
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
_CONNECT_KINDS: Final[dict[int, FailureKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timeout_connect",
}


def kind_of(code: int, os_errno: int) -> FailureKind:
    """Return what a CURLcode means; whatever else libcurl may complain of is a breach of HTTP by the receiver."""
    kind = _KINDS.get(code, "protocol")
    return _CONNECT_KINDS.get(os_errno, kind) if kind == "connect" else kind


def unanswered(code: int, os_errno: int, message: str) -> Unanswered:
    """Translate a CURLcode, errno and libcurl's message, in which a receiver's bytes may be quoted."""
    return Unanswered(kind_of(code, os_errno), printable(message) or f"libcurl error {code}")


def printable(text: str) -> str:
    """Return text that can be logged: printable ASCII, not too long."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_DETAIL])

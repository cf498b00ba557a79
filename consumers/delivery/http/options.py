"""Options of the HTTP client's connections: trusted authorities, forward proxy, limits."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

import certifi

from consumers.delivery.http.proxy import Proxy


def trusted_roots() -> str:
    """Return the file of certificate authorities: that of SSL_CERT_FILE, of the system, or of certifi."""
    paths: Any = ssl.get_default_verify_paths()  # `cafile` may be None, though typeshed declares a str
    found: str | None = paths.cafile
    return found or certifi.where()


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """`roots` is the file of certificate authorities. `max_connections` bounds open connections, idle ones included.

    At `max_connections` a new connection replaces the one that has been idle longest. `idle_s` is below the 60 s after
    which servers usually close idle connections. `lifetime_s` ends connections in use as well, so that the client
    follows a name to its new address.
    """

    roots: str = field(default_factory=trusted_roots)
    proxy: Proxy | None = None
    max_connections: int = 1_024
    idle_s: int = 55
    lifetime_s: int = 300

"""How the client makes connections: trusted authorities, forward proxy, limits."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

import certifi

from consumers.delivery.http.proxy import Proxy


def trusted_roots() -> str:
    """Return the file of certificate authorities: SSL_CERT_FILE, the system's, or certifi's."""
    paths: Any = ssl.get_default_verify_paths()  # typeshed says str where None comes, and compiled code believes it
    found: str | None = paths.cafile
    return found or certifi.where()


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """`roots` is the file of certificate authorities; `max_connections` bounds open connections, idle ones included.

    At `max_connections` the client closes the connection that has been idle longest for each new one. Servers usually
    close idle connections after 60 s or more: `idle_s` ends ours before. `lifetime_s` ends connections in use as well,
    so that the client follows a name to its new address.
    """

    roots: str = field(default_factory=trusted_roots)
    proxy: Proxy | None = None
    max_connections: int = 1_024
    idle_s: int = 55
    lifetime_s: int = 300

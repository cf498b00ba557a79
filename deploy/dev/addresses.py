"""Addresses on this machine: where a server listens, whether a port is free, whether something listens there."""

from __future__ import annotations

import errno
import socket
from typing import Final

HIGHEST_PORT: Final = 65_535
LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}
_CONNECT_S: Final = 0.5


def split(address: str) -> tuple[str, int]:
    """Return host, without brackets, and port of `host:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def join(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """Return where a server that listens on `host` responds on this machine."""
    return _EVERYWHERE.get(host, host)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Return whether no socket listens at a port. True if the host cannot be listened on for another reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def accepts(address: str) -> bool:
    """Return whether a socket listens at `host:port` and responds within half a second."""
    host, port = split(address)
    try:
        socket.create_connection((reachable(host), port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True

"""A forward proxy: settings, resolving through it, and CONNECT.

The client resolves and checks the host's name as without a proxy, and the proxy connects to the checked address. TLS,
Host and the verification of the certificate use the name. Sockets connect to the proxy's addresses only.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from consumers.delivery.http.resolver import Addresses, Failed, Refused, Resolution, Resolver
from consumers.delivery.http.types import TransportError
from schemas.catalog.errors import SettingsError
from schemas.network.egress import EgressPolicy, is_literal

# The policy for the proxy itself: the operator configured it, so any address is allowed.
ANYWHERE: Final = EgressPolicy(allow_cidrs=(ip_network("0.0.0.0/0"), ip_network("::/0")))
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] +(\d{3})\b")
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. `resolves`: the proxy gets names, resolves them, and checks the addresses."""

    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    resolves: bool = False

    @classmethod
    def of(cls, url: str, *, resolves: bool = False) -> Proxy:
        """Parse http[s]://[user:password@]host[:port]. SettingsError does not show the URL: it may hold a password."""
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            host = parts.hostname or ""
        except (KeyError, ValueError):
            port = 0
            host = ""
        if not host or not port:
            raise SettingsError("proxy: write http://host:port or https://host:port, with user:password@ if it asks")
        user = unquote(parts.username or "")
        password = unquote(parts.password or "")
        return cls(parts.scheme, host, port, user, password, resolves)


def connect_request(proxy: Proxy, tunnel_to: str) -> bytes:
    """Return the CONNECT request; `tunnel_to` is `host:port`."""
    lines = [f"CONNECT {tunnel_to} HTTP/1.1", f"Host: {tunnel_to}"]
    if proxy.user or proxy.password:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def status_of(head: bytes) -> int:
    """Return the status of a proxy's response; 0 if it is not a response of HTTP/1."""
    found = _STATUS_LINE.match(head)
    return int(found[1]) if found else 0


def tunnel_error(status: int) -> TransportError | None:
    """Return the error for a status of CONNECT; None for 2xx."""
    if 200 <= status < 300:
        return None
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        return TransportError("proxy_auth", "the proxy refuses the user or password in the setting proxy")
    if status:
        return TransportError("proxy_refused", f"the proxy responded to CONNECT with {status}")
    return TransportError("proxy_refused", "the proxy did not respond to CONNECT with HTTP/1.1")


def connect_to_proxy_error(error: TransportError) -> TransportError:
    """Return the error for a failed connection to the proxy. Errors of this process stay as they are."""
    if error.kind in ("local", "blocked_address"):
        return error
    return TransportError("proxy_unreachable", f"no connection to the proxy: {error.detail}")


class ProxyResolver:
    """Resolves targets that are reached through a proxy. Also the policy of sockets: they connect to the proxy only.

    `targets` resolves the names of targets, `proxies` that of the proxy.
    """

    def __init__(self, proxy: Proxy, targets: Resolver, proxies: Resolver) -> None:
        self._proxy = proxy
        self._targets = targets
        self._proxies = proxies
        # The last two addresses of the proxy's name: a socket may be opened a little after the name's time to live.
        self._current: Addresses | None = None
        self._previous: Addresses | None = None
        self._waiting: set[str] = set()  # hosts of targets whose lookup waits for the proxy's name

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set the function to call when a query has ended. Any thread may call it."""
        self._targets.wake_by(wake)
        self._proxies.wake_by(wake)

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return how a target is reached; None: a query is under way, and `ended` will return the target's host."""
        proxy = self._proxies.lookup(self._proxy.host, self._proxy.port)
        if proxy is None:
            self._waiting.add(host)
            return None
        if isinstance(proxy, Refused | Failed):
            reason = proxy.reason if isinstance(proxy, Refused) else proxy.detail
            return Failed("proxy_unreachable", f"the proxy's name is not resolved: {reason}")
        if self._current is not proxy:
            self._previous = self._current
            self._current = proxy
        if self._proxy.resolves and not is_literal(host) and host != "localhost":
            return Addresses(proxy.addresses, f"{host}:{port}")
        target = self._targets.lookup(host, port, waits=waits)
        if not isinstance(target, Addresses):
            return target
        return Addresses(proxy.addresses, f"{_preferred(target.addresses)}:{port}")

    def ended(self) -> list[str]:
        """Return the hosts of targets whose queries have ended since the last call."""
        names = self._targets.ended()
        if self._proxies.ended():
            names += self._waiting
            self._waiting.clear()
        return names

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a name timed out."""
        return self._targets.has_hung(host)

    def refusal(self, address: str) -> str | None:
        """Return why a socket may not connect to an address; None if it is an address of the proxy."""
        is_proxy = any(each is not None and address in each.addresses for each in (self._current, self._previous))
        return None if is_proxy else "it is not an address of the proxy"

    def close(self) -> None:
        """Drop all queries."""
        self._targets.close()
        self._proxies.close()


def _preferred(addresses: tuple[str, ...]) -> str:
    """Return the address to name in CONNECT, which takes only one: IPv4 if there is one."""
    address = next((each for each in addresses if ":" not in each), addresses[0])
    return f"[{address}]" if ":" in address else address

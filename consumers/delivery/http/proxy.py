"""A forward proxy: its settings, how targets are reached through it, and CONNECT.

The host's name is resolved and checked as without a proxy, and the proxy connects to the address that was checked. TLS,
Host and the check of the certificate keep the name. The socket accepts no address but the proxy's.
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

# For the proxy itself: the operator has named it, so it may have any address.
ANYWHERE: Final = EgressPolicy(allow_cidrs=(ip_network("0.0.0.0/0"), ip_network("::/0")))
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] +(\d{3})\b")
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. `resolves`: it gets names, and checks itself where they lead."""

    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    resolves: bool = False

    @classmethod
    def of(cls, url: str, *, resolves: bool = False) -> Proxy:
        """Read http[s]://[user:password@]host[:port]; SettingsError without the URL, which may hold a password."""
        try:
            parts = urlsplit(url)
            port, host = parts.port or {"http": 80, "https": 443}[parts.scheme], parts.hostname or ""
        except (KeyError, ValueError):
            port, host = 0, ""
        if not host or not port:
            raise SettingsError("proxy: write http://host:port or https://host:port, with user:password@ if it asks")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.scheme, host, port, user, password, resolves)


def connect_request(proxy: Proxy, tunnel_to: str) -> bytes:
    """Return the request that has a proxy connect to `host:port`."""
    lines = [f"CONNECT {tunnel_to} HTTP/1.1", f"Host: {tunnel_to}"]
    if proxy.user or proxy.password:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def status_of(head: bytes) -> int:
    """Return the status of a proxy's response, 0 if it is no response of HTTP/1."""
    found = _STATUS_LINE.match(head)
    return int(found[1]) if found else 0


def tunnel_error(status: int) -> TransportError | None:
    """Return why a proxy made no tunnel; None if it did."""
    if 200 <= status < 300:
        return None
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        return TransportError("proxy_auth", "the proxy refuses the user or password in the setting proxy")
    if status:
        return TransportError("proxy_refused", f"the proxy answered CONNECT with {status}")
    return TransportError("proxy_refused", "the proxy did not answer CONNECT with HTTP/1.1")


def connect_to_proxy_error(error: TransportError) -> TransportError:
    """Return why there is no connection to the proxy; an error of ours stays one."""
    if error.kind in ("local", "blocked_address"):
        return error
    return TransportError("proxy_unreachable", f"no connection to the proxy: {error.detail}")


class ProxyResolver:
    """A resolver of targets that are reached through a proxy; also says which addresses a socket may connect to.

    `proxies` resolves the proxy's own name and refuses nothing.
    """

    def __init__(self, proxy: Proxy, targets: Resolver, proxies: Resolver) -> None:
        self._proxy = proxy
        self._targets = targets
        self._proxies = proxies
        # The last two addresses of the proxy's name: a socket may be opened a little after the name's time to live.
        self._current: Addresses | None = None
        self._previous: Addresses | None = None
        self._waiting: set[str] = set()  # targets' hosts whose lookup waits for the proxy's name

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set what to call when a query has ended; it is called from any thread."""
        self._targets.wake_by(wake)
        self._proxies.wake_by(wake)

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return how a target is reached; None: a query is under way, `ended` will name the target's host."""
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
        """Return the hosts of targets that have news since the last call."""
        names = self._targets.ended()
        if self._proxies.ended():
            names += self._waiting
            self._waiting.clear()
        return names

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a name got no answer."""
        return self._targets.has_hung(host)

    def refusal(self, address: str) -> str | None:
        """Return why an address may not be connected to: it is not the proxy's. None if it is."""
        is_proxy = any(each is not None and address in each.addresses for each in (self._current, self._previous))
        return None if is_proxy else "it is not that of the proxy"

    def close(self) -> None:
        """Ask nothing more."""
        self._targets.close()
        self._proxies.close()


def _preferred(addresses: tuple[str, ...]) -> str:
    """Return one address for the proxy, of IPv4 if there is one: CONNECT takes no list to try."""
    address = next((each for each in addresses if ":" not in each), addresses[0])
    return f"[{address}]" if ":" in address else address

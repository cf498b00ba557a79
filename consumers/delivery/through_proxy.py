"""Names and addresses where all requests go through a forward proxy.

The name of a host is resolved and checked as ever, and the proxy is told to connect to the address that was checked;
TLS, Host and the check of the certificate keep the name. At the socket nothing but the proxy is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

from consumers.delivery.connections import Proxy
from consumers.delivery.resolver import MAX_NAMES, Addresses, Failed, Refused, Resolution, Resolver
from schemas.egress import EgressPolicy, is_literal

# For the proxy itself, which the operator has named: it may be anywhere.
ANYWHERE: Final = EgressPolicy(allow_cidrs=(ip_network("0.0.0.0/0"), ip_network("::/0")))


class ThroughProxy:
    """A resolver of targets whose addresses the proxy connects to; also says which addresses a socket may have.

    `proxies` resolves the proxy's own name and refuses nothing.
    """

    def __init__(self, proxy: Proxy, targets: Resolver, proxies: Resolver) -> None:
        self._proxy = proxy
        self._targets = targets
        self._proxies = proxies
        # What the proxy's name led to when a target was looked up, now and before: a socket may be asked for a little
        # later than that, when the name's time to live is over.
        self._reached: tuple[Addresses | None, Addresses | None] = (None, None)
        self._waiting: set[str] = set()  # hosts of which somebody was told to wait, as the proxy's name was not known
        # Per host and port what was made of which two resolutions: libcurl is told anew only where one is another.
        self._made: dict[tuple[str, int], tuple[Addresses | None, Addresses, Addresses]] = {}

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Take what to call when a query has ended; it is called from any thread."""
        self._targets.wake_by(wake)
        self._proxies.wake_by(wake)

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return how a target is reached; None: a query is under way, `ended` will name the target's host."""
        proxy = self._proxies.lookup(self._proxy.host, self._proxy.port)
        if proxy is None:
            self._waiting.add(host)
            return None
        if isinstance(proxy, Refused | Failed):
            return Failed("proxy_unreachable", f"the proxy's name is not resolved: {_reason(proxy)}")
        if proxy is not self._reached[0]:
            self._reached = (proxy, self._reached[0])
        if self._proxy.resolves and not is_literal(host) and host != "localhost":
            return self._join(host, port, None, proxy)
        target = self._targets.lookup(host, port, waits=waits)
        return self._join(host, port, target, proxy) if type(target) is Addresses else target

    def ended(self) -> list[str]:
        """Return the hosts of targets of which more is known since this was last asked."""
        names = self._targets.ended()
        if self._proxies.ended():
            names += self._waiting
            self._waiting.clear()
        return names

    def has_hung(self, host: str) -> bool:
        """Tell whether the last query for a name got no answer."""
        return self._targets.has_hung(host)

    def refusal(self, address: str) -> str | None:
        """Say why an address may not be connected to: it is not the proxy's. None if it is."""
        is_proxy = any(address in each.addresses for each in self._reached if each is not None)
        return None if is_proxy else "it is not that of the proxy"

    def close(self) -> None:
        """Ask nothing more."""
        self._targets.close()
        self._proxies.close()

    def _join(self, host: str, port: int, target: Addresses | None, proxy: Addresses) -> Addresses:
        made = self._made.get((host, port))
        if made is not None and made[0] is target and made[1] is proxy:
            return made[2]
        if target is None:
            joined = Addresses((), proxy.pin)
        else:
            joined = Addresses(target.addresses, proxy.pin, [_connect_to(host, port, target.addresses)])
        if len(self._made) >= MAX_NAMES:
            self._made.clear()
        self._made[host, port] = (target, proxy, joined)
        return joined


def _connect_to(host: str, port: int, addresses: tuple[str, ...]) -> str:
    """Return one address for the proxy, of IPv4 where there is one: CONNECT takes no list to try."""
    address = next((each for each in addresses if ":" not in each), addresses[0])
    to = f"[{address}]" if ":" in address else address
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}:{to}:{port}"


def _reason(found: Refused | Failed) -> str:
    return found.reason if isinstance(found, Refused) else found.detail

"""Resolves names by c-ares, checks addresses, caches answers. Nothing blocks: a hanging name delays no other."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import pycares

from schemas.network.egress import LOOPBACK, EgressPolicy, is_literal

# An answer is cached for its TTL within these bounds, in seconds. A TTL of 0 would mean a query for every request; with
# a long one requests would go to an address that its owner has left. Failures are cached for the requests that wait.
MIN_TTL: Final = 1.0
MAX_TTL: Final = 60.0
FAILURE_TTL: Final = 5.0
MAX_NAMES: Final = 10_000
# Maximum number of names that are prefetched at a time. Their requests return in about 5 s, so they are cached longer.
MAX_PREFETCHES: Final = 8_192
PREFETCH_TTL: Final = 10.0
# More addresses than this are checked but not tried.
_MAX_ADDRESSES: Final = 16
# Default of the setting dns_timeout: how long a name may take in all.
TIMEOUT: Final = 5.0
# Timeout of each try of c-ares. With fast servers c-ares uses a shorter one and gives up early. The query is repeated
# until `TIMEOUT` has passed, so that a name without an answer always fails after the same time.
_TRY_S: Final = 2.0
_TRIES: Final = 3
# Without this flag c-ares calls connect() for every address to sort them. The connector tries them all.
_UNSORTED: Final = 1 << 7  # ARES_AI_NOSORT
_TIMEOUTS: Final = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECANCELLED})
# Nothing listens at the address of the DNS server.
_NO_SERVER: Final = frozenset({pycares.errno.ARES_ECONNREFUSED})


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses to connect to. If they are those of a proxy, `tunnel_to` is the `host:port` that it connects to."""

    addresses: tuple[str, ...]
    tunnel_to: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The policy refuses the name, because it refuses one of its addresses."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer, or no address in it."""

    kind: Literal["dns", "dns_timeout", "proxy_unreachable"]
    detail: str


Resolution: TypeAlias = Addresses | Refused | Failed


@dataclass(slots=True)
class _Entry:
    """A cached answer; `until` is monotonic, in seconds."""

    until: float
    found: Resolution


class NameResolver(Protocol):
    """The resolver of a client: Resolver, or proxy.ProxyResolver."""

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set the function to call when `ended` has something to return."""
        ...

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return the answer for a host; None: a query is under way. If `waits`, `ended` will return the host."""
        ...

    def ended(self) -> list[str]:
        """Return the hosts whose queries have ended since the last call."""
        ...

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a host timed out."""
        ...

    def close(self) -> None:
        """Drop all queries."""
        ...


class Resolver:
    """A cache of DNS answers, checked by the policy. Belongs to one thread."""

    def __init__(
        self,
        policy: EgressPolicy,
        dns_servers: Iterable[str] = (),
        *,
        timeout_s: float = TIMEOUT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._known: dict[str, _Entry] = {}
        self._timeout = timeout_s
        self._under_way: dict[str, float] = {}  # start times of queries by name, oldest first
        self._prefetched: set[str] = set()  # queries that no request waits for
        # c-ares calls back in its own thread, or at once in this one. The callback only appends here.
        self._ended: deque[tuple[str, float, Any, int | None]] = deque()
        self._wake: Callable[[], None] = lambda: None
        # Without NOSEARCH a name that does not exist is tried again under the search domains of resolv.conf.
        flags = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS
        self._channel = pycares.Channel(flags=flags, timeout=_TRY_S, tries=_TRIES, servers=list(dns_servers))
        self._refreshed = monotonic()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set the function to call when a query has ended. Any thread may call it."""
        self._wake = wake

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return the answer for a host; None: a query is under way, and `ended` will return the host.

        Without `waits` the request is deferred for a few seconds if there is no answer. Then the name is prefetched,
        unless it is known to hang.
        """
        now = self._monotonic()
        entry = self._known.get(host)
        if entry is None or entry.until <= now:
            if host == "localhost" or is_literal(host):
                entry = self._keep(host, self._fixed(host), now + MAX_TTL)
            else:
                if waits:
                    self._ask(host, now)
                elif len(self._under_way) < MAX_PREFETCHES and host not in self._under_way and not self.has_hung(host):
                    self._prefetched.add(host)
                    self._ask(host, now)
                return None
        return entry.found

    def ended(self) -> list[str]:
        """Return the names whose queries have ended since the last call. `lookup` returns their answers."""
        names = []
        while self._ended:
            host, asked, result, error = self._ended.popleft()
            if self._is_final(host, asked, error):
                self._end(host, *self._interpret(host, result, error))
                names.append(host)
        while self._under_way:  # no answer in time
            host, asked = next(iter(self._under_way.items()))
            if self._monotonic() - asked < self._timeout:
                break
            self._end(
                host, Failed("dns_timeout", f"{host}: DNS did not answer within {self._timeout:g} s"), FAILURE_TTL
            )
            names.append(host)
        return names

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a name timed out."""
        entry = self._known.get(host)
        return entry is not None and type(entry.found) is Failed and entry.found.kind == "dns_timeout"

    def close(self) -> None:
        """Drop all queries."""
        self._wake = lambda: None
        self._channel.close()

    def _ask(self, host: str, now: float) -> None:
        if host in self._under_way:
            return
        if now - self._refreshed >= MAX_TTL / 2:
            # c-ares caches answers for their whole TTL. This drops its cache soon, though not before this query, and
            # reads resolv.conf again.
            self._channel.reinit()
            self._refreshed = now
        self._under_way[host] = now
        self._query(host, now)

    def _query(self, host: str, asked: float) -> None:
        def ended(result: Any, error: int | None) -> None:
            self._ended.append((host, asked, result, error))
            self._wake()

        family: Any = socket.AF_UNSPEC
        self._channel.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM, flags=_UNSORTED, callback=ended)

    def _is_final(self, host: str, asked: float, error: int | None) -> bool:
        """Whether a query has really ended. If c-ares gave up early, the query is repeated."""
        if error is None:
            return True  # an answer counts even if it is late
        if self._under_way.get(host) != asked:
            return False
        if error in _TIMEOUTS:
            self._query(host, asked)
            return False
        return True

    def _end(self, host: str, found: Resolution, ttl: float) -> None:
        self._under_way.pop(host, None)
        if host in self._prefetched:
            self._prefetched.discard(host)
            ttl = max(ttl, PREFETCH_TTL)
        self._keep(host, found, self._monotonic() + ttl)

    def _interpret(self, host: str, result: Any, error: int | None) -> tuple[Resolution, float]:
        if error is not None:
            kind: Literal["dns", "dns_timeout"] = "dns_timeout" if error in _NO_SERVER else "dns"
            return Failed(kind, f"{host}: {_text_of(error)}"), FAILURE_TTL
        addresses = tuple(node.addr[0].decode("ascii") for node in result.nodes)
        if not addresses:
            return Failed("dns", f"{host} has no address"), FAILURE_TTL
        ttl = min(record.ttl for record in (*result.nodes, *result.cnames))
        return self._checked(host, addresses), min(max(ttl, MIN_TTL), MAX_TTL)

    def _checked(self, host: str, addresses: tuple[str, ...]) -> Resolution:
        """Return the addresses of a name. Refuse the name if the policy refuses one of them: any may be used."""
        for address in addresses:
            reason = self._policy.refusal(address)
            if reason is not None:
                return Refused(f"{host} has an address that may not be connected to: {reason}")
        return Addresses(addresses[:_MAX_ADDRESSES])

    def _fixed(self, host: str) -> Resolution:
        """Return the addresses of an IP literal or of `localhost`, without a query."""
        if host != "localhost":
            return self._checked(host, (host,))
        allowed = tuple(address for address in LOOPBACK if self._policy.refusal(address) is None)
        return Addresses(allowed) if allowed else Refused("localhost is this machine")

    def _keep(self, host: str, found: Resolution, until: float) -> _Entry:
        self._known.pop(host, None)
        if len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]  # the oldest entry
        entry = self._known[host] = _Entry(until, found)
        return entry


def _text_of(error: int) -> str:
    text = pycares.errno.strerror(error)
    return text.decode("ascii", "replace") if isinstance(text, bytes) else text

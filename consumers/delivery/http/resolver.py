"""Names to addresses, by c-ares. Nothing blocks here: a name that hangs delays only its own requests."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import pycares

from schemas.network.egress import LOOPBACK, EgressPolicy, is_literal

# An answer is cached for its TTL within these bounds, in seconds: a TTL of 0 would query for every request, a long one
# would send to an address that its owner has left. Failures are cached just long enough for the requests that wait.
MIN_TTL: Final = 1.0
MAX_TTL: Final = 60.0
FAILURE_TTL: Final = 5.0
MAX_NAMES: Final = 10_000
# Names that are prefetched: how many at a time, and how long they are cached, as their requests return in about 5 s.
MAX_PREFETCHES: Final = 8_192
PREFETCH_TTL: Final = 10.0
# More addresses than this are checked but not tried.
_MAX_ADDRESSES: Final = 16
# How long a name may take in all (setting dns_timeout).
TIMEOUT: Final = 5.0
# For each of c-ares' tries. With fast servers c-ares uses less and gives up early; the query is repeated until the time
# above has passed, so that a name that does not answer always fails after the same time.
_TRY_S: Final = 2.0
_TRIES: Final = 3
# c-ares' flag against a connect() to every address to sort them: the connector tries them all.
_UNSORTED: Final = 1 << 7  # ARES_AI_NOSORT
_TIMEOUTS: Final = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECANCELLED})
# Nothing listens at the address of the DNS server.
_NO_SERVER: Final = frozenset({pycares.errno.ARES_ECONNREFUSED})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to connect to: a name's addresses, or a proxy's, with the host:port that the proxy connects to."""

    addresses: tuple[str, ...]
    tunnel_to: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The policy forbids one of the name's addresses, and with it the name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer, or it holds no address."""

    kind: Literal["dns", "dns_timeout", "proxy_unreachable"]
    detail: str


Resolution: TypeAlias = Addresses | Refused | Failed


@dataclass(slots=True)
class _Entry:
    """A cached answer; `until` is monotonic, in seconds."""

    until: float
    found: Resolution


class NameResolver(Protocol):
    """What the client needs of a resolver: Resolver, or proxy.ProxyResolver."""

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set what to call when `ended` has news."""
        ...

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return what is known of a host; None: nothing yet, and if `waits`, `ended` will name the host."""
        ...

    def ended(self) -> list[str]:
        """Return the hosts that have news since the last call."""
        ...

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a host got no answer."""
        ...

    def close(self) -> None:
        """Ask nothing more."""
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
        # Name to when its query started, oldest first.
        self._under_way: dict[str, float] = {}
        self._prefetched: set[str] = set()  # those of them that no request waits for
        # c-ares calls back in its own thread, or at once in ours; the callback only appends here.
        self._ended: deque[tuple[str, float, Any, int | None]] = deque()
        self._wake: Callable[[], None] = lambda: None
        # Without NOSEARCH a name that does not exist is tried again under the search domains of resolv.conf.
        flags = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS
        self._channel = pycares.Channel(flags=flags, timeout=_TRY_S, tries=_TRIES, servers=list(dns_servers))
        self._refreshed = monotonic()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Set what to call when a query has ended; it is called from any thread."""
        self._wake = wake

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return what is known of a target's host; None: a query is under way, `ended` will name the host.

        Without `waits` None promises nothing: the request returns in a few seconds. A name that is not known to hang
        is prefetched for it.
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
        """Return the names whose query has ended since the last call; `lookup` knows their answer."""
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
            self._end(host, Failed("dns_timeout", f"{host}: no answer of DNS within {self._timeout:g} s"), FAILURE_TTL)
            names.append(host)
        return names

    def has_hung(self, host: str) -> bool:
        """Whether the last query for a name got no answer."""
        entry = self._known.get(host)
        return entry is not None and type(entry.found) is Failed and entry.found.kind == "dns_timeout"

    def close(self) -> None:
        """Ask nothing more; drop the queries under way."""
        self._wake = lambda: None
        self._channel.close()

    def _ask(self, host: str, now: float) -> None:
        if host in self._under_way:
            return
        if now - self._refreshed >= MAX_TTL / 2:
            # c-ares caches answers for their whole TTL; this drops them (soon, not before this query) and reads
            # resolv.conf again.
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
        """Whether the end of a query is an answer; if c-ares gave up early, the query is repeated."""
        if error is None:
            return True  # however late
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
            return Failed(kind, f"{host}: {_words(error)}"), FAILURE_TTL
        addresses = tuple(node.addr[0].decode("ascii") for node in result.nodes)
        if not addresses:
            return Failed("dns", f"{host} has no address"), FAILURE_TTL
        ttl = min(record.ttl for record in (*result.nodes, *result.cnames))
        return self._checked(host, addresses), min(max(ttl, MIN_TTL), MAX_TTL)

    def _checked(self, host: str, addresses: tuple[str, ...]) -> Resolution:
        """Refuse a name for one forbidden address: nobody can say which address a connection would use."""
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


def _words(error: int) -> str:
    words = pycares.errno.strerror(error)
    return words.decode("ascii", "replace") if isinstance(words, bytes) else words

"""Names to addresses, by c-ares, without ever waiting: a name that hangs delays nobody but itself.

libcurl's own resolver is a small pool of threads that a dozen unanswered names fill; it is never used.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import pycares

from schemas.egress import LOOPBACK, EgressPolicy, is_literal

# An answer counts for its TTL within these bounds, in seconds: a TTL of 0 would ask for every request, a long one would
# send to an address that its owner has left. Failures are kept just long enough to be shared by what waits.
MIN_TTL: Final = 1.0
MAX_TTL: Final = 60.0
FAILURE_TTL: Final = 5.0
MAX_NAMES: Final = 10_000
# Names that are asked for ahead, how many at a time and for how long: whoever asked comes again within 5 s or so.
MAX_AHEAD: Final = 8_192
AHEAD_TTL: Final = 10.0
# More addresses than this are checked but not tried.
_MAX_ADDRESSES: Final = 16
# How long a name may take in all (setting dns_timeout).
TIMEOUT: Final = 5.0
# Of c-ares, for each of its tries. It takes less where servers have been quick, and gives up early: it is asked again
# until the time above has passed, so that a name that does not answer fails after the same time always.
_TRY_S: Final = 2.0
_TRIES: Final = 3
# c-ares' flag for: no connect() to every address to find the best way to it; libcurl tries them all.
_UNSORTED: Final = 1 << 7  # ARES_AI_NOSORT
_TIMEOUTS: Final = frozenset({pycares.errno.ARES_ETIMEOUT, pycares.errno.ARES_ECANCELLED})
# Nobody listens where a DNS server should be.
_NO_SERVER: Final = frozenset({pycares.errno.ARES_ECONNREFUSED})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a name may be connected to; `pin` is the value of CURLOPT_RESOLVE that says so to libcurl.

    `connect_to` is that of CURLOPT_CONNECT_TO, where a proxy is told to go to an address.
    """

    addresses: tuple[str, ...]
    pin: list[str]
    connect_to: list[str] | None = None


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
    """What is known of a name, until when; `pins` per port, made when they are asked for."""

    until: float
    found: tuple[str, ...] | Refused | Failed
    pins: dict[int, Addresses] = field(default_factory=dict)


class Resolver:
    """Cached answers of DNS, checked by the policy. Belongs to one thread."""

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
        # Name to when it was asked for, oldest first.
        self._under_way: dict[str, float] = {}
        self._ahead: set[str] = set()  # those of them that are asked for ahead
        # c-ares calls back in its own thread, or at once in ours; either way only this queue is touched there.
        self._ended: deque[tuple[str, float, Any, int | None]] = deque()
        self._wake: Callable[[], None] = lambda: None
        # Without NOSEARCH a name that does not exist is tried again under the search domains of resolv.conf.
        flags = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS
        self._channel = pycares.Channel(flags=flags, timeout=_TRY_S, tries=_TRIES, servers=list(dns_servers))
        self._refreshed = monotonic()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Take what to call when a query has ended; it is called from any thread."""
        self._wake = wake

    def lookup(self, host: str, port: int, *, waits: bool = True) -> Resolution | None:
        """Return what is known of a target's host; None: a query is under way, `ended` will name it.

        Who does not wait comes again in a few seconds: a name that is not known to hang is asked for ahead, and its
        answer kept so long. None then promises nothing.
        """
        now = self._monotonic()
        entry = self._known.get(host)
        if entry is None or entry.until <= now:
            if host == "localhost" or is_literal(host):
                entry = self._keep(host, self._fixed(host), now + MAX_TTL)
            else:
                if waits:
                    self._ask(host, now)
                elif len(self._under_way) < MAX_AHEAD and host not in self._under_way and not self.has_hung(host):
                    self._ahead.add(host)
                    self._ask(host, now)
                return None
        found = entry.found
        if type(found) is tuple:
            return entry.pins.get(port) or _pinned(entry, host, port, found)
        assert not isinstance(found, tuple)
        return found

    def ended(self) -> list[str]:
        """Return the names whose query has ended since this was last asked; their `lookup` has an answer."""
        names = []
        while self._ended:
            host, asked, result, error = self._ended.popleft()
            if self._counts(host, asked, error):
                self._end(host, *self._judge(host, result, error))
                names.append(host)
        while self._under_way:  # no answer in time
            host, asked = next(iter(self._under_way.items()))
            if self._monotonic() - asked < self._timeout:
                break
            self._end(host, Failed("dns_timeout", f"{host}: no answer of DNS within {self._timeout:g} s"), FAILURE_TTL)
            names.append(host)
        return names

    def has_hung(self, host: str) -> bool:
        """Tell whether the last query for a name got no answer."""
        entry = self._known.get(host)
        return entry is not None and type(entry.found) is Failed and entry.found.kind == "dns_timeout"

    def close(self) -> None:
        """Ask nothing more; what is under way is forgotten."""
        self._wake = lambda: None
        self._channel.close()

    def _ask(self, host: str, now: float) -> None:
        if host in self._under_way:
            return
        if now - self._refreshed >= MAX_TTL / 2:
            # c-ares keeps answers for their whole TTL; this makes it forget them (soon: not before this query), and
            # read resolv.conf again.
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

    def _counts(self, host: str, asked: float, error: int | None) -> bool:
        """Tell whether the end of a query is news; where c-ares gave up early, it is asked again."""
        if error is None:
            return True  # however late
        if self._under_way.get(host) != asked:
            return False
        if error in _TIMEOUTS:
            self._query(host, asked)
            return False
        return True

    def _end(self, host: str, found: tuple[str, ...] | Refused | Failed, ttl: float) -> None:
        self._under_way.pop(host, None)
        if host in self._ahead:
            self._ahead.discard(host)
            ttl = max(ttl, AHEAD_TTL)
        self._keep(host, found, self._monotonic() + ttl)

    def _judge(self, host: str, result: Any, error: int | None) -> tuple[tuple[str, ...] | Refused | Failed, float]:
        if error is not None:
            kind: Literal["dns", "dns_timeout"] = "dns_timeout" if error in _NO_SERVER else "dns"
            return Failed(kind, f"{host}: {_words(error)}"), FAILURE_TTL
        addresses = tuple(node.addr[0].decode("ascii") for node in result.nodes)
        if not addresses:
            return Failed("dns", f"{host} has no address"), FAILURE_TTL
        ttl = min(record.ttl for record in (*result.nodes, *result.cnames))
        return self._checked(host, addresses), min(max(ttl, MIN_TTL), MAX_TTL)

    def _checked(self, host: str, addresses: tuple[str, ...]) -> tuple[str, ...] | Refused:
        """Refuse a name for one forbidden address among several: which one libcurl would take is not ours to say."""
        for address in addresses:
            reason = self._policy.refusal(address)
            if reason is not None:
                return Refused(f"{host} has an address that may not be connected to: {reason}")
        return addresses[:_MAX_ADDRESSES]

    def _fixed(self, host: str) -> tuple[str, ...] | Refused:
        """Return the addresses of an IP literal or of `localhost`, which nobody is asked for."""
        if host != "localhost":
            return self._checked(host, (host,))
        allowed = tuple(address for address in LOOPBACK if self._policy.refusal(address) is None)
        return allowed or Refused("localhost is this machine")

    def _keep(self, host: str, found: tuple[str, ...] | Refused | Failed, until: float) -> _Entry:
        self._known.pop(host, None)
        if len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]  # the one that was asked for longest ago
        entry = self._known[host] = _Entry(until, found)
        return entry


def _pinned(entry: _Entry, host: str, port: int, addresses: tuple[str, ...]) -> Addresses:
    listed = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
    name = f"[{host}]" if ":" in host else host
    entry.pins[port] = pinned = Addresses(addresses, [f"+{name}:{port}:{listed}"])
    return pinned


def _words(error: int) -> str:
    words = pycares.errno.strerror(error)
    return words.decode("ascii", "replace") if isinstance(words, bytes) else words

"""How connections are made, the same for all requests of a process: roots of trust, HTTP version, forward proxy."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import certifi
import pycurl

from schemas.errors import SettingsError

# Deadlines are judged by the transport, after the sockets were read; libcurl judges before, so it gets none in reach.
_NO_TIMEOUT_MS: Final = 24 * 3_600_000
# libcurl fills a buffer of this size before each write and keeps it with the handle; 16 KiB is the least that it takes.
UPLOAD_BUFFER: Final = 16 * 1024
LARGE_UPLOAD_BUFFER: Final = 64 * 1024
# CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl has no name for: what a proxy says of its tunnel is no response.
_SUPPRESS_CONNECT_HEADERS: Final = 265


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. `resolves`: it is given names and checks for itself where they lead."""

    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    resolves: bool = False

    @classmethod
    def of(cls, url: str, *, resolves: bool = False) -> Proxy:
        """Read http://[user:password@]host[:port]; SettingsError without the URL, which may hold a password."""
        try:
            parts = urlsplit(url)
            port, host = parts.port or {"http": 80, "https": 443}[parts.scheme], parts.hostname or ""
        except (KeyError, ValueError):
            port, host = 0, ""
        if not host or not port:
            raise SettingsError("proxy: write http://host:port or https://host:port, with user:password@ if it asks")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.scheme, host, port, user, password, resolves)

    @property
    def url(self) -> str:
        """The URL without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def trusted_roots() -> str:
    """Return the file of certificate authorities: SSL_CERT_FILE, the system's, or certifi's."""
    paths: Any = ssl.get_default_verify_paths()  # typeshed says str where None comes, and compiled code believes it
    found: str | None = paths.cafile
    return found or certifi.where()


@dataclass(frozen=True, slots=True)
class Connections:
    """`roots` is the file of certificate authorities; `most` is how many connections may be open, idle ones included.

    Beyond `most` the longest idle one is closed for each that is made. Servers close idle connections after 60 s or
    more, as a rule: ours end before, and sooner or later those in use, too, as a name that moves is to be followed.
    """

    roots: str = field(default_factory=trusted_roots)
    http2: bool = False
    proxy: Proxy | None = None
    most: int = 1_024
    idle_s: int = 55
    lifetime_s: int = 300


def static_options(connections: Connections) -> list[tuple[int, Any]]:
    """Return the options of libcurl that never change."""
    version = pycurl.CURL_HTTP_VERSION_2TLS if connections.http2 else pycurl.CURL_HTTP_VERSION_1_1
    return [
        (pycurl.POST, 1),
        (pycurl.HTTP_VERSION, version),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.USERAGENT, ""),  # pycurl sets one
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.HTTP_CONTENT_DECODING, 0),
        (pycurl.NOSIGNAL, 1),
        (pycurl.NOPROGRESS, 1),
        (pycurl.UPLOAD_BUFFERSIZE, UPLOAD_BUFFER),
        (pycurl.CONNECTTIMEOUT_MS, _NO_TIMEOUT_MS),
        # Longer than any transfer: a connection that is made again finds the addresses that it was given.
        (pycurl.DNS_CACHE_TIMEOUT, _NO_TIMEOUT_MS // 1_000),
        (pycurl.MAXAGE_CONN, connections.idle_s),
        (pycurl.MAXLIFETIME_CONN, connections.lifetime_s),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.CAINFO, connections.roots),
        *_proxy_options(connections),
    ]


def multi_options(connections: Connections) -> list[tuple[int, int]]:
    """Return the options of the multi handle."""
    return [
        (pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX if connections.http2 else pycurl.PIPE_NOTHING),
        (pycurl.M_MAXCONNECTS, connections.most),
        (pycurl.M_MAX_TOTAL_CONNECTIONS, connections.most),
    ]


def _proxy_options(connections: Connections) -> list[tuple[int, Any]]:
    proxy = connections.proxy
    if proxy is None:
        return [(pycurl.PROXY, ""), (pycurl.NOPROXY, "*")]  # not even from the environment
    options: list[tuple[int, Any]] = [
        (pycurl.PROXY, proxy.url),
        (pycurl.NOPROXY, ""),  # nothing goes past it, whatever the environment says
        (pycurl.HTTPPROXYTUNNEL, 1),  # http:// as well: there is one way through it
        (_SUPPRESS_CONNECT_HEADERS, 1),
        (pycurl.PROXY_SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.PROXY_CAINFO, connections.roots),
    ]
    if proxy.user or proxy.password:
        options += [(pycurl.PROXYUSERNAME, proxy.user), (pycurl.PROXYPASSWORD, proxy.password)]
    return options

"""The HTTP client of a delivery process, and a probe of connections, from the settings."""

from __future__ import annotations

import resource
import ssl
from pathlib import Path
from typing import Final

import structlog

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.connection_probe import ConnectionProbe
from consumers.delivery.http.connector import AddressPolicy
from consumers.delivery.http.options import ClientOptions, trusted_roots
from consumers.delivery.http.proxy import ANYWHERE, Proxy, ProxyResolver
from consumers.delivery.http.resolver import NameResolver, Resolver
from schemas.catalog.errors import SettingsError
from schemas.network.egress import EgressPolicy
from schemas.settings.settings import Settings

_log = structlog.get_logger("delivery")
# File descriptors for everything but connections to endpoints: brokers, DNS, files, libraries.
_OTHER_FILES: Final = 256


def http_client_of(settings: Settings, policy: EgressPolicy) -> HttpClient:
    """Return a client; SettingsError if ca_bundle cannot be read or the limit of open files is too low."""
    options = _options_of(settings, allowed_connections(settings.max_connections, settings.max_in_flight))
    addresses, resolver = _resolver_of(settings, policy, options.proxy)
    return HttpClient(addresses, resolver, options=options)


def connection_probe_of(settings: Settings, policy: EgressPolicy) -> ConnectionProbe:
    """Return a probe with the rules, resolver, proxy and authorities of deliveries; SettingsError as above."""
    options = _options_of(settings, 1)
    addresses, resolver = _resolver_of(settings, policy, options.proxy)
    return ConnectionProbe(addresses, resolver, options)


def _options_of(settings: Settings, max_connections: int) -> ClientOptions:
    proxy = None if settings.proxy is None else Proxy.of(settings.proxy, resolves=settings.proxy_resolves)
    return ClientOptions(roots=roots_of(settings.ca_bundle), proxy=proxy, max_connections=max_connections)


def _resolver_of(settings: Settings, policy: EgressPolicy, proxy: Proxy | None) -> tuple[AddressPolicy, NameResolver]:
    """Return the rules for addresses of sockets, and the resolver of endpoints."""
    timeout_s = settings.dns_timeout.total_seconds()
    resolver = Resolver(policy, settings.dns_servers, timeout_s=timeout_s)
    if proxy is None:
        return policy, resolver
    resolver_of_proxy = Resolver(ANYWHERE, settings.dns_servers, timeout_s=timeout_s)
    proxy_resolver = ProxyResolver(proxy, resolver, resolver_of_proxy)
    return proxy_resolver, proxy_resolver


def roots_of(ca_bundle: Path | None) -> str:
    """Return the file of trusted certificate authorities; SettingsError if it has none."""
    if ca_bundle is None:
        return trusted_roots()
    try:
        count = ssl.create_default_context(cafile=ca_bundle).cert_store_stats()["x509_ca"]
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"ca_bundle {ca_bundle}: cannot be read as PEM: {error.strerror or error}") from error
    if not count:
        raise SettingsError(f"ca_bundle {ca_bundle}: contains no certificate of an authority")
    return str(ca_bundle)


def allowed_connections(wanted: int, in_flight: int) -> int:
    """Raise this process's limit of open files for `wanted` connections; return how many connections it allows.

    SettingsError if it allows fewer than `in_flight`, the maximum number of concurrent requests.
    """
    wanted = max(wanted, in_flight)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + _OTHER_FILES and soft != resource.RLIM_INFINITY:
        enough = wanted + _OTHER_FILES
        soft = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - _OTHER_FILES)
    if allowed < in_flight:
        raise SettingsError(
            f"max_in_flight is {in_flight}, but this process may open only {soft} files and reserves {_OTHER_FILES} of "
            f"them for itself: raise the limit (`ulimit -Hn {in_flight + _OTHER_FILES}`, or LimitNOFILE of the "
            "service), or lower max_in_flight"
        )
    if allowed < wanted:
        _log.warning("connections.limited", wanted=wanted, allowed=allowed, open_files=soft)
    return allowed

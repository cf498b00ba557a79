"""The HTTP client for the settings, or a SettingsError that says why there is none."""

from __future__ import annotations

import resource
import ssl
from pathlib import Path
from typing import Final

import structlog

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions, trusted_roots
from consumers.delivery.http.proxy import ANYWHERE, Proxy, ProxyResolver
from consumers.delivery.http.resolver import Resolver
from schemas.catalog.errors import SettingsError
from schemas.network.egress import EgressPolicy
from schemas.settings.settings import Settings

_log = structlog.get_logger("delivery")
# Descriptors of a process other than its connections: brokers, DNS, files, libraries.
_OTHER_FILES: Final = 256


def http_client_of(settings: Settings, policy: EgressPolicy) -> HttpClient:
    """Return a client; SettingsError where authorities cannot be read or there are too few file descriptors."""
    proxy = None if settings.proxy is None else Proxy.of(settings.proxy, resolves=settings.proxy_resolves)
    options = ClientOptions(
        roots=roots_of(settings.ca_bundle),
        proxy=proxy,
        max_connections=allowed_connections(settings.max_connections, settings.max_in_flight),
    )
    timeout_s = settings.dns_timeout.total_seconds()
    resolver = Resolver(policy, settings.dns_servers, timeout_s=timeout_s)
    if proxy is None:
        return HttpClient(policy, resolver, options=options)
    proxies = Resolver(ANYWHERE, settings.dns_servers, timeout_s=timeout_s)
    through = ProxyResolver(proxy, resolver, proxies)
    return HttpClient(through, through, options=options)


def roots_of(ca_bundle: Path | None) -> str:
    """Return the file of the trusted authorities; SettingsError if it holds none."""
    if ca_bundle is None:
        return trusted_roots()
    try:
        found = ssl.create_default_context(cafile=ca_bundle).cert_store_stats()["x509_ca"]
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"ca_bundle {ca_bundle}: cannot be read as PEM: {error.strerror or error}") from error
    if not found:
        raise SettingsError(f"ca_bundle {ca_bundle}: holds no certificate of an authority")
    return str(ca_bundle)


def allowed_connections(wanted: int, in_flight: int) -> int:
    """Raise this process's limit of open files as far as `wanted` connections need it; return how many it allows.

    SettingsError where not even all requests that may be in flight have one.
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
            f"max_in_flight is {in_flight}, but this process may have only {soft} files open, of which it needs "
            f"{_OTHER_FILES} for itself: raise the limit (`ulimit -Hn {in_flight + _OTHER_FILES}`, or LimitNOFILE of "
            "its service), or lower max_in_flight"
        )
    if allowed < wanted:
        _log.warning("connections.limited", wanted=wanted, allowed=allowed, open_files=soft)
    return allowed

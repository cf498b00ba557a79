"""Why an attempt got no response: a closed list that outcomes, metrics and docs/operations.md share.

A kind is never renamed, because outcomes on the topic contain it. New kinds are added here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

FailureKind: TypeAlias = Literal[
    "dns",
    "dns_timeout",
    "blocked_url",
    "blocked_address",
    "refused",
    "unreachable",
    "timeout_connect",
    "timeout_tls",
    "timeout_answer",
    "reset",
    "tls_expired",
    "tls_hostname",
    "tls_untrusted",
    "tls_client_certificate",
    "tls_version",
    "tls_failed",
    "headers_too_large",
    "protocol",
    "proxy_unreachable",
    "proxy_auth",
    "proxy_refused",
    "local",
    "cancelled",
]


class Meaning(NamedTuple):
    """What an entry of a closed list means, and what to do about it."""

    what: str
    to_do: str


MEANINGS: Final[Mapping[FailureKind, Meaning]] = {
    "dns": Meaning(
        "the name has no address, or the DNS servers return an error",
        "the customer corrects the name; if many names fail, check `dns_servers`",
    ),
    "dns_timeout": Meaning(
        "no DNS server responded within `dns_timeout`, or before the attempt's deadline",
        "one name: its own DNS servers are down; many names: our DNS servers are down or cannot be reached",
    ),
    "blocked_url": Meaning(
        "the URL of the subscription is not allowed, or no longer allowed: scheme, port or host",
        "the customer changes the URL, or an operator changes `allow_http`, `allow_ports` or `allow_cidrs`",
    ),
    "blocked_address": Meaning(
        "the name resolves to an address that is not public and not in `allow_cidrs`",
        "the customer corrects the name; for a private network of your own, add it to `allow_cidrs`",
    ),
    "refused": Meaning("no process listens on the port", "the customer starts the endpoint"),
    "unreachable": Meaning(
        "there is no route to the address, or the connection failed for another reason",
        "many endpoints: check our network",
    ),
    "timeout_connect": Meaning(
        "no connection was established before the deadline",
        "the customer's firewall or host drops packets; many endpoints: our firewall does",
    ),
    "timeout_tls": Meaning(
        "the connection was established, but the TLS handshake did not finish before the deadline",
        "as `timeout_answer`",
    ),
    "timeout_answer": Meaning(
        "the request was sent, but the response headers were not complete before the deadline",
        "the customer responds first and processes afterwards; or set a longer timeout, if the sender allows it",
    ),
    "reset": Meaning(
        "the connection was closed before the response headers were complete",
        "the customer checks their log; over TLS: does the endpoint require a client certificate?",
    ),
    "tls_expired": Meaning(
        "the endpoint's certificate has expired or is not valid yet", "the customer renews the certificate"
    ),
    "tls_hostname": Meaning(
        "the endpoint's certificate is for another host name", "the customer installs a certificate for the host name"
    ),
    "tls_untrusted": Meaning(
        "no trusted authority signed the endpoint's certificate: it is self-signed, or its chain is incomplete",
        "the customer sends the whole chain; for a private authority, add it to `ca_bundle`",
    ),
    "tls_client_certificate": Meaning(
        "the endpoint requires a client certificate and got none, or rejected that of the subscription",
        "give the subscription a certificate that the endpoint accepts",
    ),
    "tls_version": Meaning("the endpoint does not support TLS 1.2 or later", "the customer enables TLS 1.2 or TLS 1.3"),
    "tls_failed": Meaning(
        "the TLS handshake failed for another reason", "`openssl s_client -connect host:443` shows the details"
    ),
    "headers_too_large": Meaning(
        "the response headers exceed 32 KiB, interim responses included", "the customer sends fewer headers"
    ),
    "protocol": Meaning("the response is not valid HTTP/1.1", "does the URL belong to a web server?"),
    "proxy_unreachable": Meaning("the forward proxy does not respond", "check the proxy and the setting `proxy`"),
    "proxy_auth": Meaning("the forward proxy rejects the user name or password", "correct `proxy`"),
    "proxy_refused": Meaning(
        "the forward proxy did not connect to the endpoint",
        "check the proxy's log: does the proxy allow the endpoint?",
    ),
    "local": Meaning(
        "this process could not start the request: no file descriptors, no memory, or an invalid header",
        "raise `ulimit -n`; check the headers of the subscription",
    ),
    "cancelled": Meaning("the request was cancelled before it was sent; never in an outcome", "nothing"),
}
# For customers: short, without addresses, names of hosts and anything about our network.
SHORT: Final[Mapping[FailureKind, str]] = {
    "dns": "host name not found",
    "dns_timeout": "DNS lookup timed out",
    "blocked_url": "URL not allowed",
    "blocked_address": "address not allowed",
    "refused": "connection refused",
    "unreachable": "host unreachable",
    "timeout_connect": "connection timed out",
    "timeout_tls": "TLS handshake timed out",
    "timeout_answer": "response timed out",
    "reset": "connection closed before the response",
    "tls_expired": "certificate expired or not valid yet",
    "tls_hostname": "certificate for another host name",
    "tls_untrusted": "certificate not trusted",
    "tls_client_certificate": "client certificate missing or rejected",
    "tls_version": "TLS version not supported",
    "tls_failed": "TLS handshake failed",
    "headers_too_large": "response headers too large",
    "protocol": "response is not HTTP/1.1",
    "proxy_unreachable": "request could not be sent",
    "proxy_auth": "request could not be sent",
    "proxy_refused": "host unreachable",
    "local": "request could not be sent",
    "cancelled": "request could not be sent",
}
# The kinds that outcomes contain: all that count as an attempt.
OUTCOME_KINDS: Final[tuple[FailureKind, ...]] = tuple(kind for kind in MEANINGS if kind != "cancelled")
# Failures on our side. They do not count against the endpoint's health.
OURS: Final[frozenset[FailureKind]] = frozenset({"proxy_unreachable", "proxy_auth", "local", "cancelled"})

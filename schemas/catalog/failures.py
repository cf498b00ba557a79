"""Why an attempt got no answer: a closed list, which outcomes, metrics and docs/operations.md share.

A kind is never renamed, as it is on record in outcomes; a new one is added here and nowhere else.
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
    """What a kind says, and what somebody can do about it."""

    what: str
    to_do: str


MEANINGS: Final[Mapping[FailureKind, Meaning]] = {
    "dns": Meaning(
        "the name has no address, or the DNS servers say that they cannot tell",
        "the customer mends the name; if many names fail, look at `dns_servers`",
    ),
    "dns_timeout": Meaning(
        "no DNS server answered within `dns_timeout`, or within the attempt's own time",
        "one name: its own servers are down; many names: ours are, or are not reachable from here",
    ),
    "blocked_url": Meaning(
        "the subscription's URL is not allowed (any more): scheme, port or host",
        "the customer changes the URL, or `allow_http`, `allow_ports`, `allow_cidrs` change",
    ),
    "blocked_address": Meaning(
        "the name leads to an address that is not public, or that `allow_cidrs` does not have",
        "the customer mends the name; of an own network: add it to `allow_cidrs`",
    ),
    "refused": Meaning("nobody listens at the port", "the customer starts the endpoint"),
    "unreachable": Meaning(
        "there is no route to the address, or no connection for another reason", "many endpoints: look at our network"
    ),
    "timeout_connect": Meaning(
        "no connection before the deadline", "the customer's firewall or machine drops packets; many endpoints: ours"
    ),
    "timeout_tls": Meaning("connected, but the TLS handshake did not end before the deadline", "as `timeout_answer`"),
    "timeout_answer": Meaning(
        "the request was sent, but no complete response headers came before the deadline",
        "the customer answers first and works afterwards; a longer timeout where the sender allows one",
    ),
    "reset": Meaning(
        "the connection ended before the response headers did",
        "the customer looks at their log; over TLS: does the endpoint ask for a client certificate?",
    ),
    "tls_expired": Meaning("the endpoint's certificate is not valid at this time", "the customer renews it"),
    "tls_hostname": Meaning("the endpoint's certificate is for another name", "the customer mends it"),
    "tls_untrusted": Meaning(
        "the endpoint's certificate is of no authority that we trust: self-signed, or its chain is not complete",
        "the customer sends the whole chain; of an own authority: add it to `ca_bundle`",
    ),
    "tls_client_certificate": Meaning(
        "the endpoint asks for a client certificate and got none, or refused the subscription's",
        "give the subscription a certificate that the endpoint takes",
    ),
    "tls_version": Meaning("the endpoint speaks no TLS 1.2 or later", "the customer turns TLS 1.2 or 1.3 on"),
    "tls_failed": Meaning(
        "the TLS handshake failed for another reason", "`openssl s_client -connect host:443` says more"
    ),
    "headers_too_large": Meaning("over 32 KiB of response headers, interim ones included", "the customer sends fewer"),
    "protocol": Meaning("what came is not the HTTP that was agreed on", "is the URL that of a web server?"),
    "proxy_unreachable": Meaning("the forward proxy does not answer", "look at the proxy, and at `proxy`"),
    "proxy_auth": Meaning("the forward proxy refuses our user name or password", "mend `proxy`"),
    "proxy_refused": Meaning(
        "the forward proxy made no connection to the endpoint", "the proxy's log knows; is the endpoint allowed there?"
    ),
    "local": Meaning(
        "this process could not even try: no file descriptors, no memory, a header that cannot be sent",
        "raise `ulimit -n`; look at the subscription's headers",
    ),
    "cancelled": Meaning("withdrawn before it was sent; never in an outcome", "nothing"),
}
# What an outcome may name: whatever was an attempt.
OUTCOME_KINDS: Final[tuple[FailureKind, ...]] = tuple(kind for kind in MEANINGS if kind != "cancelled")
# Nothing that an endpoint did or could mend: it tells nothing about the endpoint's health.
OURS: Final[frozenset[FailureKind]] = frozenset({"proxy_unreachable", "proxy_auth", "local", "cancelled"})

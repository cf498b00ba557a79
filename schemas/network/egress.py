"""Egress policy: rules for URLs and for addresses.

URLs are checked when a subscription is written. Addresses are checked in every DNS response, and again at the socket.

URLs have their own grammar, which is narrower than that of any URL library. A URL that passes has only one reading, so
the client requests exactly the target that was checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from schemas.catalog.errors import InvalidInput
from schemas.network.addresses import Address, Network, embedded_ipv4, special_purpose

MAX_URL: Final = 2048
MAX_HOST: Final = 253
# In `allow_ports`: every port. For development, where receivers listen on any free port.
ANY_PORT: Final = 0

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<rest>.*)")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# The last label of an IP literal in any notation of inet_aton: 127.1, 0x7f.1, 2130706433.
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES: Final = ("localhost", "local", "internal", "arpa", "onion")
LOOPBACK: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that deliveries may use; `url` has scheme and host in lower case, `host` has no brackets."""

    url: str
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Permissions beyond https to the default port of a public address: plain http, CIDRs, ports."""

    allow_http: bool = False
    allow_cidrs: tuple[Network, ...] = ()
    allow_ports: frozenset[int] = frozenset()

    def check_url(self, url: str) -> Target:
        """Return the target of a URL; InvalidInput describes the error in one sentence."""
        if len(url) > MAX_URL:
            raise InvalidInput(f"url has {len(url)} characters; at most {MAX_URL} are allowed")
        _refuse_characters(url)
        parts = _URL.fullmatch(url)
        if parts is None:
            either = "https://host/path or http://host/path" if self.allow_http else "https://host/path"
            raise InvalidInput(f"url must be {either}")
        scheme = parts["scheme"].lower()
        if scheme != "https" and (scheme != "http" or not self.allow_http):
            allowed = "https:// or http://" if self.allow_http else "https://"
            hint = "; set allow_http for development only" if scheme == "http" else ""
            raise InvalidInput(f"url must start with {allowed} (got {scheme[:20]}://)", hint=hint)
        host, port = self._check_authority(parts["authority"], _DEFAULT_PORTS[scheme])
        bracketed = f"[{host}]" if ":" in host else host
        authority = bracketed if port == _DEFAULT_PORTS[scheme] else f"{bracketed}:{port}"
        rest = parts["rest"] if parts["rest"].startswith("/") else f"/{parts['rest']}"
        return Target(f"{scheme}://{authority}{rest}", scheme, host, port)

    def refusal(self, address: str) -> str | None:
        """Return the reason why an address (text, without brackets) is not allowed; None if it is allowed."""
        if "%" in address:
            return "an address with a zone is link-local"
        try:
            return self._refusal(ip_address(address))
        except ValueError:
            return "not an IP address"

    def _refusal(self, address: Address) -> str | None:
        if isinstance(address, IPv6Address):
            # Even if `allow_cidrs` contains the IPv6 address, the embedded IPv4 address has to be allowed itself.
            for inner in embedded_ipv4(address):
                reason = self._refusal(inner)
                if reason is not None:
                    return f"it embeds {inner}, and {reason}"
        if any(address in network for network in self.allow_cidrs if network.version == address.version):
            return None
        return special_purpose(address)

    def _check_authority(self, authority: str, default_port: int) -> tuple[str, int]:
        if "@" in authority:
            raise InvalidInput("url must not contain a user name or password")
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            raise InvalidInput(
                "url must name a host (letters, digits, hyphens and dots; an international name in punycode, xn--…) "
                "and may name a port from 1 to 65535"
            )
        port = int(match["port"] or default_port)
        if port != default_port and not self.allow_ports & {port, ANY_PORT}:
            allowed = " or ".join(str(p) for p in sorted({default_port, *self.allow_ports}))
            raise InvalidInput(f"url names port {port}; allowed: {allowed}", hint=" (setting allow_ports)")
        if port > 65535:
            raise InvalidInput(f"url names port {port}; the highest port is 65535")
        return self._check_host(match["host"].lower()), port

    def _check_host(self, host: str) -> str:
        labels = host.split(".")
        if host.startswith("[") or _NUMERIC.fullmatch(labels[-1]):
            return self._check_literal(host)
        if host == "localhost" and any(self._allowed(address) for address in LOOPBACK):
            return host
        if labels[-1] in _LOCAL_NAMES:
            raise InvalidInput(f"url names a host under {labels[-1]}, which is not on the public internet")
        if len(host) > MAX_HOST or len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
            raise InvalidInput("url must name a host with a dotted DNS name, such as hooks.example.com")
        if not re.search("[a-z]", labels[-1]):
            raise InvalidInput("url must name a host whose last part has a letter, such as hooks.example.com")
        return host

    def _check_literal(self, host: str) -> str:
        try:
            address = IPv6Address(host[1:-1]) if host.startswith("[") else IPv4Address(host)
        except AddressValueError:
            raise InvalidInput("url must name a host, not an IP address in a special notation") from None
        if not self._allowed(str(address)):
            raise InvalidInput("url must name a host, not an IP address", hint=", unless allow_cidrs contains it")
        return str(address)

    def _allowed(self, literal: str) -> bool:
        """Return whether `allow_cidrs` contains an address. A public IP address in a URL is refused as well."""
        address = ip_address(literal)
        contained = any(address in network for network in self.allow_cidrs if network.version == address.version)
        return contained and self._refusal(address) is None


def is_literal(host: str) -> bool:
    """Return whether the host of a target is an IP address."""
    return ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]) is not None


def _refuse_characters(url: str) -> None:
    for character, name in (("\\", "a backslash"), ("#", "a fragment (#)")):
        if character in url:
            raise InvalidInput(f"url must not contain {name}")
    if not url.isascii():
        raise InvalidInput("url must be ASCII: write an international host in punycode (xn--…), a path percent-encoded")
    if any(character <= " " or character == "\x7f" for character in url):
        raise InvalidInput("url must not contain whitespace or control characters")

"""URLs in settings: the schema registry and the forward proxy. Both may have user and password.

The grammar is RFC 3986's, without the parts that a client could not use: libraries strip, split or replace what does
not fit it, so that a wrong URL would fail at the first request, or reach another host. Messages never repeat a URL,
because it may contain a password.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

_URL: Final = re.compile(r"(?:([^:/?#@]*)://)?([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_AUTHORITY: Final = re.compile(r"(?:(.*)@)?(\[[^\[\]]*\]|[^:]*)(?::(.*))?", re.DOTALL)
_PERCENT: Final = r"%[0-9A-Fa-f]{2}"
_USER: Final = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+;=:-]|{_PERCENT})*")
_PATH: Final = re.compile(rf"(?:/(?:[A-Za-z0-9._~!$&'()*+;=:-]|{_PERCENT})*)*")
# Docker Compose allows underscores in names of services.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LONGEST_HOST: Final = 253
_FOUR_NUMBERS: Final = re.compile(r"(?:[0-9]+\.){3}[0-9]+")
_HIGHEST_PORT: Final = 65_535
# Clients of a registry add these paths themselves.
_PATHS_OF_REGISTRY: Final = ("/subjects", "/schemas/ids")

_FORM: Final = "write http://host:port or https://host:port, with user:password@ (percent-encoded) if required"


def registry_url(value: str) -> str:
    """Return the URL of a schema registry; ValueError with a sentence if no request could reach it."""
    path = _checked(value).rstrip("/")
    for added in _PATHS_OF_REGISTRY:
        if path.endswith(added):
            raise ValueError(f"leave out {added} at the end: Signpost adds the paths of the registry's API")
    return value


def proxy_url(value: str) -> str:
    """Return the URL of a forward proxy; ValueError with a sentence if no request could reach it."""
    if _checked(value).strip("/"):
        raise ValueError(f"the URL of a proxy has no path; {_FORM}")
    return value


def database_url(value: str) -> str:
    """Return the URL of the ledger's database; ValueError with a sentence if it is of neither kind.

    PostgreSQL's own URLs have parameters after `?`, such as sslmode, which libpq checks.
    """
    if re.search(r"[\s\x00-\x20\x7f]", value):
        raise ValueError("the URL contains a space, a line end or another control character")
    if "password=" in value.partition("?")[2]:
        raise ValueError("write the password before the host, as in postgresql://user:password@host:5432/name")
    if re.fullmatch(r"sqlite:////?[^/?#][^?#]*", value) or re.fullmatch(r"postgresql://[^/]+/[^/?]+(\?.*)?", value):
        return value
    raise ValueError("write postgresql://user:password@host:5432/name, or sqlite:////path/of/file.db")


def _checked(value: str) -> str:
    """Return the path of an http or https URL; ValueError if the URL cannot work."""
    found = _URL.fullmatch(value)
    assert found is not None  # the expression matches any text
    scheme, authority, path, rest = found.groups()
    parts = _AUTHORITY.fullmatch(authority)
    user, host, port = parts.groups() if parts is not None else (None, "", None)
    for is_wrong, what in (
        (re.search(r"[\s\x00-\x20\x7f]", value), "the URL contains a space, a line end or another control character"),
        ("," in value, "the URL contains a comma, but one URL is expected; write %2C for a comma in a password"),
        (scheme not in {"http", "https"}, "the URL has to begin with http:// or https://, in lower case"),
        (rest, "the URL may not contain ? or #; write %3F and %23 in a password"),
        ("@" in path, "the user name or password contains a slash; write %2F"),
        (user is not None and not _USER.fullmatch(user), "the user name or password has to be percent-encoded"),
        (not _is_host(host), "the host is neither a DNS name nor an IP address"),
        (not _is_port(port), f"the port is not a number from 1 to {_HIGHEST_PORT}"),
        (not _PATH.fullmatch(path), "the path contains a character that has to be percent-encoded"),
    ):
        if is_wrong:
            raise ValueError(f"{what}; {_FORM}")
    return path


def _is_host(host: str) -> bool:
    try:
        if host.startswith("["):
            return "%" not in host and IPv6Address(host[1:-1]) is not None
        if _FOUR_NUMBERS.fullmatch(host):
            return IPv4Address(host) is not None
    except AddressValueError:
        return False
    return len(host) <= _LONGEST_HOST and _HOST.fullmatch(host) is not None


def _is_port(port: str | None) -> bool:
    return port is None or (re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) <= _HIGHEST_PORT)

"""URLs that a subscription may have."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog.errors import InvalidInput
from schemas.network.egress import ANY_PORT, MAX_URL, EgressPolicy, Target

pytestmark = pytest.mark.promise(5)

STRICT = EgressPolicy()
LOCAL = EgressPolicy(True, (ip_network("127.0.0.0/8"), ip_network("::1/128")), frozenset({ANY_PORT}))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com/a", Target("https://example.com/a", "https", "example.com", 443)),
        ("HTTPS://Example.COM/A", Target("https://example.com/A", "https", "example.com", 443)),
        ("https://example.com", Target("https://example.com/", "https", "example.com", 443)),
        ("https://example.com?x=1", Target("https://example.com/?x=1", "https", "example.com", 443)),
        ("https://example.com:443/a", Target("https://example.com/a", "https", "example.com", 443)),
        (
            "https://a_b.xn--mnchen-3ya.de/",
            Target("https://a_b.xn--mnchen-3ya.de/", "https", "a_b.xn--mnchen-3ya.de", 443),
        ),
        ("https://1.2.3.4.example/", Target("https://1.2.3.4.example/", "https", "1.2.3.4.example", 443)),
        ("https://a.b/../%2e/?@=[]{}|", Target("https://a.b/../%2e/?@=[]{}|", "https", "a.b", 443)),
    ],
)
def test_valid_urls_are_accepted(url: str, target: Target) -> None:
    """An https URL with a DNS name is accepted; scheme and host become lower case, the rest is unchanged."""
    assert STRICT.check_url(url) == target


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "https://host/path"),
        ("example.com/a", "https://host/path"),
        ("//example.com/a", "https://host/path"),
        ("https:/example.com", "https://host/path"),
        ("https:example.com", "https://host/path"),
        ("http://example.com/", "must start with https://"),
        ("ftp://example.com/", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("gopher://example.com/_x", "must start with https://"),
        ("https://", "must name a host"),
        ("https:///a", "must name a host"),
        ("https://user@example.com/", "user name"),
        ("https://user:pw@example.com/", "user name"),
        ("https://example.com@127.0.0.1/", "user name"),
        ("https://example.com#f", "fragment"),
        ("https://example.com/a#f", "fragment"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com/a\\b", "backslash"),
        ("https://example.com/a b", "whitespace"),
        ("https://example.com/a\r\nX: y", "whitespace"),
        ("https://example.com/a\t", "whitespace"),
        (" https://example.com/", "whitespace"),
        ("https://example.com/\x00", "whitespace"),
        ("https://example.com/\x7f", "whitespace"),
        ("https://exa%6dple.com/", "must name a host"),
        ("https://127.0.0.1%2f.example.com/", "must name a host"),
        ("https://münchen.de/", "punycode"),
        ("https://example.com/ü", "ASCII"),
        ("https://\uff11\uff12\uff17.0.0.1/", "ASCII"),
        ("https://ⓔxample.com/", "ASCII"),
        ("https://example/", "dotted DNS name"),
        ("https://example.com./", "dotted DNS name"),
        ("https://.example.com/", "dotted DNS name"),
        ("https://a..b.com/", "dotted DNS name"),
        ("https://-a.com/", "dotted DNS name"),
        ("https://a-.com/", "dotted DNS name"),
        (f"https://{'a' * 64}.com/", "dotted DNS name"),
        (f"https://{'a.' * 130}com/", "dotted DNS name"),
        ("https://example.1-2/", "has a letter"),
        ("https://localhost/", "localhost"),
        ("https://a.localhost/", "localhost"),
        ("https://printer.local/", "local"),
        ("https://metadata.google.internal/", "internal"),
        ("https://1.0.0.127.in-addr.arpa/", "arpa"),
        ("https://abc.onion/", "onion"),
        ("https://example.com:0/", "must name a host"),
        ("https://example.com:/", "must name a host"),
        ("https://example.com:0443/", "must name a host"),
        ("https://example.com:+443/", "must name a host"),
        ("https://example.com:80/", "port 80; allowed: 443"),
        ("https://example.com:65536/", "port 65536"),
        ("https://example.com:22/", "port 22"),
        (f"https://example.com/{'a' * MAX_URL}", str(MAX_URL)),
    ],
)
def test_invalid_urls_are_refused_with_the_reason(url: str, expected: str) -> None:
    """A URL that breaks a rule is refused with an error that names the rule."""
    with pytest.raises(InvalidInput, match=expected.replace("(", r"\(")):
        STRICT.check_url(url)


@pytest.mark.parametrize("policy", [STRICT, LOCAL], ids=["strict", "local"])
@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.1.", "127.0.0.256"),
        *("0", "0x", "00000127.0.0.1", "1.2.3.0x4", "1.2.3.4.5", "8.8.8.8", "10.0.0.1", "169.254.169.254"),
        *("[::]", "[::1%lo]", "[::1", "::1", "[127.0.0.1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[2606:4700::1]", "[]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "[v1.a]"),
    ],
)
def test_ip_literals_are_refused_in_any_notation(policy: EgressPolicy, host: str) -> None:
    """An IP address in any notation is refused, unless allow_cidrs contains it and its notation is canonical."""
    with pytest.raises(InvalidInput):
        policy.check_url(f"https://{host}/")


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8080/a", "127.0.0.1", 8080),
        ("http://localhost:1/", "localhost", 1),
        ("http://[::1]:65535/", "::1", 65535),
        ("http://[0:0::0:1]/", "::1", 80),
        ("https://127.255.255.255/", "127.255.255.255", 443),
        ("http://example.com/", "example.com", 80),
    ],
)
def test_local_receiver_is_allowed_in_development(url: str, host: str, port: int) -> None:
    """With allow_http, loopback in allow_cidrs and any port, a local receiver is a valid target."""
    target = LOCAL.check_url(url)
    assert (target.host, target.port) == (host, port)
    assert LOCAL.check_url(target.url) == target


def test_allow_ports_opens_exactly_its_ports() -> None:
    """allow_ports adds to the default port of the scheme."""
    policy = EgressPolicy(allow_ports=frozenset({8443}))
    assert policy.check_url("https://example.com:8443/").port == 8443
    assert policy.check_url("https://example.com/").port == 443
    with pytest.raises(InvalidInput, match="allowed: 443 or 8443"):
        policy.check_url("https://example.com:8444/")


@given(st.text(max_size=60) | st.text("htps:/@[]#?%.\\127locahx \r\n", max_size=60).map(lambda rest: f"https://{rest}"))
def test_any_text_is_a_target_or_invalid(text: str) -> None:
    """Any text gives a target that parses to itself, or InvalidInput."""
    try:
        target = STRICT.check_url(text)
    except InvalidInput:
        return
    assert STRICT.check_url(target.url) == target
    assert target.url.startswith(f"https://{target.host}/")

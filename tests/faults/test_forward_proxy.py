"""Through a forward proxy the same holds as without: checked addresses, the certificate of the name, known kinds."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog.testing

from consumers.delivery.connections import Connections, Proxy
from consumers.delivery.resolver import Resolver
from consumers.delivery.through_proxy import ANYWHERE, ThroughProxy
from consumers.delivery.transport import Answer, Responded, Transport, Unanswered
from schemas.egress import ANY_PORT, EgressPolicy
from schemas.errors import SettingsError
from schemas.failures import FailureKind
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.hostile import HostileReceiver
from tests.support.sending import answer_of, answers_of, request_to
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

HOST = "hooks.example.com"
EMPTY = Responded(200, None, b"", False)
# 127.0.0.1 is the public internet here, where endpoints are; the proxy is at 127.0.0.1 as well, by another name.
POLICY = EgressPolicy(True, (ip_network("127.0.0.1/32"),), frozenset({ANY_PORT}))
ZONE = {HOST: ["127.0.0.1"], "proxy.corp.example": ["127.0.0.1"], "inside.example.com": ["10.0.0.1"]}


@dataclass(slots=True)
class World:
    """A DNS server, an authority and what is to be closed."""

    authority: Authority
    dns: DnsServer
    closing: contextlib.ExitStack

    def proxy(self, *, status: int = 200, credentials: str = "") -> ForwardProxy:
        """A proxy that knows the names by itself, too."""
        proxy = ForwardProxy(status=status, credentials=credentials, names={HOST: "127.0.0.1"})
        self.closing.callback(proxy.close)
        return proxy

    def transport(
        self, port: int, *, user: str = "", resolves: bool = False, policy: EgressPolicy = POLICY, host: str = ""
    ) -> Transport:
        """A transport that goes through the proxy at this port."""
        url = f"http://{user}{host or 'proxy.corp.example'}:{port}"
        proxy = Proxy.of(url, resolves=resolves)
        names = ThroughProxy(proxy, *(Resolver(each, [self.dns.address]) for each in (policy, ANYWHERE)))
        transport = Transport(names, names, connections=Connections(roots=str(self.authority.roots), proxy=proxy))
        self.closing.callback(transport.close)
        return transport

    def receiver(self, host: str = HOST) -> tuple[str, HostileReceiver]:
        """A receiver with a certificate for this name."""
        receiver = HostileReceiver(self.authority.server(host))
        self.closing.callback(receiver.close)
        return f"https://{HOST}:{receiver.port}", receiver


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as closing:
        dns = DnsServer(lambda name, _times: ZONE.get(name, []), ttl=60)
        closing.callback(dns.close)
        yield World(Authority(tmp_path), dns, closing)


def kind_of(answer: Answer) -> FailureKind:
    """The kind of a failure."""
    assert isinstance(answer, Unanswered), answer
    return answer.kind


def test_the_proxy_is_told_the_checked_address_and_tls_keeps_the_name(world: World) -> None:
    """CONNECT names the address that was checked; what goes through, and the check of the certificate, has the name."""
    proxy = world.proxy()
    url, receiver = world.receiver()
    transport = world.transport(proxy.port)
    for _ in range(3):
        assert answer_of(transport, request_to(f"{url}/ok")) == EMPTY
    [heard] = proxy.heard
    assert heard.startswith(f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1\r\n")
    assert "X-Signature" not in heard
    assert receiver.connections == 1
    assert all(f"Host: {HOST}:{receiver.port}\r\n".encode() in request for request in receiver.requests)


def test_the_certificate_is_checked_for_the_name(world: World) -> None:
    """A receiver behind the proxy with another's certificate gets nothing."""
    proxy = world.proxy()
    url, receiver = world.receiver("other.example.com")
    assert kind_of(answer_of(world.transport(proxy.port), request_to(f"{url}/ok"))) == "tls_hostname"
    assert (proxy.tunnels, receiver.requests) == (1, [])


def test_plain_http_goes_through_a_tunnel_as_well(world: World) -> None:
    """There is one way through the proxy, and static or signature headers are not shown to it."""
    proxy = world.proxy()
    receiver = HostileReceiver()
    world.closing.callback(receiver.close)
    url = f"http://{HOST}:{receiver.port}"
    transport = world.transport(proxy.port)
    assert answer_of(transport, request_to(f"{url}/ok-body")) == Responded(200, None, b"hello", False)
    assert all(heard.startswith("CONNECT ") and "X-Signature" not in heard for heard in proxy.heard)


@pytest.mark.parametrize("how", ["mid-headers", "close", "never", "no-chunk-hang", "huge-headers", "endless-body"])
def test_half_answers_are_judged_as_without_a_proxy(world: World, how: str) -> None:
    """What the proxy says of its tunnel is taken for nobody's answer."""
    proxy = world.proxy()
    url, _ = world.receiver()
    transport = world.transport(proxy.port)
    answers = [answer_of(transport, request_to(f"{url}/{each}", timeout_ms=700)) for each in ("ok", how, how)]
    assert answers[0] == EMPTY
    assert {isinstance(each, Responded) for each in answers[2:]} == {how in ("no-chunk-hang", "endless-body")}


def test_forbidden_addresses_are_not_asked_for(world: World) -> None:
    """What may not be connected to is not asked of the proxy either, by name or as an address."""
    proxy = world.proxy()
    transport = world.transport(proxy.port, policy=EgressPolicy(allow_http=True))
    requests = [
        request_to(f"http://{HOST}/"),
        request_to("http://inside.example.com/"),
        request_to("http://127.0.0.1/"),
    ]
    assert {kind_of(each.answer) for each in answers_of(transport, *requests)} == {"blocked_address"}
    assert proxy.heard == []


def test_a_proxy_that_resolves_is_told_names(world: World) -> None:
    """With `proxy_resolves` the proxy is told the name and decides; addresses are checked here all the same."""
    proxy = world.proxy()
    url, receiver = world.receiver()
    transport = world.transport(proxy.port, resolves=True, policy=EgressPolicy())
    assert answer_of(transport, request_to(f"{url}/ok")) == EMPTY
    assert proxy.heard[0].startswith(f"CONNECT {HOST}:{receiver.port} HTTP/1.1\r\n")
    for host in ("127.0.0.1", "localhost"):
        literal = request_to(f"http://{host}:{receiver.port}/")
        assert kind_of(answer_of(transport, literal)) == "blocked_address"
    assert len(proxy.heard) == 1
    assert {name for name, _ in world.dns.asked} == {"proxy.corp.example"}


def test_user_and_password_are_for_the_proxy_alone(world: World) -> None:
    """The proxy gets its user and password, the receiver does not see them, and a wrong one is `proxy_auth`."""
    proxy = world.proxy(credentials="sign:p@ss/word")
    url, receiver = world.receiver()
    good = world.transport(proxy.port, user="sign:p%40ss%2Fword@")
    assert answer_of(good, request_to(f"{url}/ok")) == EMPTY
    assert b"Proxy" not in receiver.requests[0]
    for user in ("", "sign:wrong@"):
        answer = answer_of(world.transport(proxy.port, user=user), request_to(f"{url}/ok"))
        assert kind_of(answer) == "proxy_auth"
        assert "wrong" not in str(answer)
    assert "word" not in repr(Proxy.of("http://sign:p%40ss%2Fword@proxy:3128"))


@pytest.mark.parametrize(("status", "kind"), [(403, "proxy_refused"), (502, "proxy_refused"), (0, "timeout_connect")])
def test_a_proxy_that_makes_no_connection(world: World, status: int, kind: FailureKind) -> None:
    """A proxy that refuses, or says nothing, is told from an endpoint that does."""
    proxy = world.proxy(status=status)
    url, receiver = world.receiver()
    assert kind_of(answer_of(world.transport(proxy.port), request_to(f"{url}/ok", timeout_ms=500))) == kind
    assert receiver.connections == 0


def test_a_proxy_that_is_not_there(world: World) -> None:
    """A proxy that nobody finds, or that does not listen, is `proxy_unreachable`, and nothing goes past it."""
    url, receiver = world.receiver()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for host in ("proxy.corp.example", "no.such.proxy.example", "127.0.0.1"):
            answer = answer_of(world.transport(port, host=host), request_to(f"{url}/ok"))
            assert kind_of(answer) == "proxy_unreachable"
    assert receiver.connections == 0


def test_the_environment_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment leads past the proxy."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", HOST)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    proxy = world.proxy()
    url, _ = world.receiver()
    assert answer_of(world.transport(proxy.port), request_to(f"{url}/ok")) == EMPTY
    assert len(proxy.heard) == 1


def test_only_the_proxy_is_allowed_at_the_socket(world: World) -> None:
    """Were an address handed to libcurl by whatever mistake, the socket would refuse all but the proxy's."""
    url, receiver = world.receiver()
    names = ThroughProxy(Proxy.of("http://127.0.0.3:3128"), Resolver(POLICY, [world.dns.address]), Resolver(ANYWHERE))
    transport = Transport(names, Resolver(POLICY, [world.dns.address]))
    world.closing.callback(transport.close)
    assert kind_of(answer_of(transport, request_to(f"{url}/ok"))) == "blocked_address"
    assert receiver.connections == 0


def test_the_proxy_s_address_outlives_its_name_s_time(world: World) -> None:
    """A socket that is asked for just after the answer for the proxy's name ran out is for the proxy all the same."""
    now = 0.0
    proxies = Resolver(ANYWHERE, [world.dns.address], monotonic=lambda: now)
    world.closing.callback(proxies.close)
    targets = Resolver(POLICY, [world.dns.address])
    names = ThroughProxy(Proxy.of("http://proxy.corp.example:3128"), targets, proxies)
    world.closing.callback(targets.close)
    wait_until(lambda: names.ended() or names.lookup("127.0.0.1", 80), what="the proxy's name is known")
    assert names.lookup("127.0.0.1", 80) is not None
    now = 61.0
    assert names.refusal("127.0.0.1") is None
    assert names.refusal("127.0.0.2") is not None


def test_trouble_with_the_proxy_is_logged_once_a_minute(world: World) -> None:
    """What no endpoint can mend is told to the operator in words, and neither for each attempt nor with a password."""
    proxy = world.proxy(credentials="sign:word")
    url, _ = world.receiver()
    transport = world.transport(proxy.port, user="sign:wrong@")
    with structlog.testing.capture_logs() as logged:
        answers_of(transport, *[request_to(f"{url}/ok") for _ in range(5)])
    [line] = logged
    assert (line["event"], line["log_level"], line["kind"]) == ("delivery.trouble", "warning", "proxy_auth")
    assert "setting proxy" in line["detail"]
    assert "wrong" not in str(line)


@pytest.mark.parametrize("url", ["proxy:3128", "socks5://proxy", "http://", "http://proxy:port", ""])
def test_what_is_no_proxy_is_refused_without_being_repeated(url: str) -> None:
    """A proxy's URL may hold a password: the sentence about a wrong one does not hold it."""
    with pytest.raises(SettingsError, match="write http://host:port") as error:
        Proxy.of(url)
    assert not url or url not in str(error.value).replace("http://host:port", "")

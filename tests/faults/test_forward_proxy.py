"""A forward proxy changes no guarantee: checked addresses, certificates of the name, known kinds of failures."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog.testing

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.proxy import ANYWHERE, Proxy, ProxyResolver
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import ClientIdentity, Response, ResponseOrError, TransportError
from schemas.catalog.errors import SettingsError
from schemas.catalog.failures import FailureKind
from schemas.network.egress import ANY_PORT, EgressPolicy
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.hostile import HostileReceiver
from tests.support.http_client import completed_of, request_to, response_of
from tests.support.listening import serve_each, stop_listening
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

HOST = "hooks.example.com"
PROXY = "proxy.corp.example"
EMPTY = Response(200, None, b"", False)
# 127.0.0.1 is the public internet here, where endpoints are; the proxy is at 127.0.0.1 as well, by another name.
POLICY = EgressPolicy(True, (ip_network("127.0.0.1/32"),), frozenset({ANY_PORT}))
ZONE = {HOST: ["127.0.0.1"], PROXY: ["127.0.0.1"], "inside.example.com": ["10.0.0.1"]}


@dataclass(slots=True)
class World:
    """A DNS server, a certificate authority, and what to close at the end; `scheme` is that of the proxy."""

    scheme: str
    authority: Authority
    dns: DnsServer
    closing: contextlib.ExitStack

    def proxy(
        self,
        *,
        status: int = 200,
        credentials: str = "",
        response: bytes | None = None,
        certificate_for: str = PROXY,
    ) -> ForwardProxy:
        """Return a proxy that resolves names, too."""
        tls = self.authority.server(certificate_for) if self.scheme == "https" else None
        names = {HOST: "127.0.0.1"}
        proxy = ForwardProxy(status=status, credentials=credentials, names=names, tls=tls, response=response)
        self.closing.callback(proxy.close)
        return proxy

    def client(
        self, port: int, *, user: str = "", resolves: bool = False, policy: EgressPolicy = POLICY, host: str = ""
    ) -> HttpClient:
        """Return a client that uses the proxy at this port."""
        url = f"{self.scheme}://{user}{host or PROXY}:{port}"
        proxy = Proxy.of(url, resolves=resolves)
        names = ProxyResolver(proxy, *(Resolver(each, [self.dns.address]) for each in (policy, ANYWHERE)))
        client = HttpClient(names, names, options=ClientOptions(roots=str(self.authority.roots), proxy=proxy))
        self.closing.callback(client.close)
        return client

    def receiver(self, host: str = HOST, *, clients: bool = False) -> tuple[str, HostileReceiver]:
        """Return URL and receiver; its certificate is for this name."""
        receiver = HostileReceiver(self.authority.server(host, clients=clients))
        self.closing.callback(receiver.close)
        return f"https://{HOST}:{receiver.port}", receiver


@pytest.fixture(params=["http", "https"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with contextlib.ExitStack() as closing:
        dns = DnsServer(lambda name, _times: ZONE.get(name, []), ttl=60)
        closing.callback(dns.close)
        yield World(str(request.param), Authority(tmp_path), dns, closing)


def kind_of(result: ResponseOrError) -> FailureKind:
    """Return the kind of a transport error."""
    assert isinstance(result, TransportError), result
    return result.kind


def test_proxy_gets_checked_address_and_tls_keeps_the_name(world: World) -> None:
    """CONNECT names the address that was checked; Host and the check of the certificate use the name."""
    proxy = world.proxy()
    url, receiver = world.receiver()
    client = world.client(proxy.port)
    for _ in range(3):
        assert response_of(client, request_to(f"{url}/ok")) == EMPTY
    [head] = proxy.requests
    assert head.startswith(f"CONNECT 127.0.0.1:{receiver.port} HTTP/1.1\r\n")
    assert "X-Signature" not in head
    assert receiver.connections == 1
    assert all(f"Host: {HOST}:{receiver.port}\r\n".encode() in request for request in receiver.requests)


def test_certificate_is_checked_for_the_name_behind_a_proxy(world: World) -> None:
    """A receiver behind the proxy that has a certificate for another name gets no request."""
    proxy = world.proxy()
    url, receiver = world.receiver("other.example.com")
    assert kind_of(response_of(world.client(proxy.port), request_to(f"{url}/ok"))) == "tls_hostname"
    assert (proxy.tunnels, receiver.requests) == (1, [])


def test_plain_http_uses_a_tunnel_as_well(world: World) -> None:
    """http:// requests use a tunnel as well, so the proxy sees neither static nor signature headers."""
    proxy = world.proxy()
    receiver = HostileReceiver()
    world.closing.callback(receiver.close)
    url = f"http://{HOST}:{receiver.port}"
    client = world.client(proxy.port)
    assert response_of(client, request_to(f"{url}/ok-body")) == Response(200, None, b"hello", False)
    assert all(head.startswith("CONNECT ") and "X-Signature" not in head for head in proxy.requests)


@pytest.mark.parametrize("how", ["mid-headers", "close", "never", "no-chunk-hang", "huge-headers", "endless-body"])
def test_incomplete_responses_are_classified_as_without_a_proxy(world: World, how: str) -> None:
    """The proxy's response to CONNECT is never taken for the endpoint's response."""
    proxy = world.proxy()
    url, _ = world.receiver()
    client = world.client(proxy.port)
    results = [response_of(client, request_to(f"{url}/{each}", timeout_ms=700)) for each in ("ok", how, how)]
    assert results[0] == EMPTY
    assert {isinstance(each, Response) for each in results[2:]} == {how in ("no-chunk-hang", "endless-body")}


def test_proxy_gets_no_forbidden_address(world: World) -> None:
    """The client sends no CONNECT for a forbidden address, by name or as a literal."""
    proxy = world.proxy()
    client = world.client(proxy.port, policy=EgressPolicy(allow_http=True))
    requests = [
        request_to(f"http://{HOST}/"),
        request_to("http://inside.example.com/"),
        request_to("http://127.0.0.1/"),
    ]
    assert {kind_of(each.response) for each in completed_of(client, *requests)} == {"blocked_address"}
    assert proxy.requests == []


def test_proxy_that_resolves_gets_names(world: World) -> None:
    """With `proxy_resolves` the proxy gets the name; address literals are still checked by the client."""
    proxy = world.proxy()
    url, receiver = world.receiver()
    client = world.client(proxy.port, resolves=True, policy=EgressPolicy())
    assert response_of(client, request_to(f"{url}/ok")) == EMPTY
    assert proxy.requests[0].startswith(f"CONNECT {HOST}:{receiver.port} HTTP/1.1\r\n")
    for host in ("127.0.0.1", "localhost"):
        literal = request_to(f"http://{host}:{receiver.port}/")
        assert kind_of(response_of(client, literal)) == "blocked_address"
    assert len(proxy.requests) == 1
    assert {name for name, _ in world.dns.asked} == {PROXY}


def test_user_and_password_are_for_the_proxy_alone(world: World) -> None:
    """The proxy gets user and password, the receiver does not; wrong ones fail with `proxy_auth`."""
    proxy = world.proxy(credentials="sign:p@ss/word")
    url, receiver = world.receiver()
    good = world.client(proxy.port, user="sign:p%40ss%2Fword@")
    assert response_of(good, request_to(f"{url}/ok")) == EMPTY
    assert b"Proxy" not in receiver.requests[0]
    for user in ("", "sign:wrong@"):
        error = response_of(world.client(proxy.port, user=user), request_to(f"{url}/ok"))
        assert kind_of(error) == "proxy_auth"
        assert "wrong" not in str(error)
    assert "word" not in repr(Proxy.of("http://sign:p%40ss%2Fword@proxy:3128"))


@pytest.mark.parametrize(("status", "kind"), [(403, "proxy_refused"), (502, "proxy_refused"), (0, "timeout_connect")])
def test_proxy_that_refuses_or_hangs_has_its_own_failure_kind(world: World, status: int, kind: FailureKind) -> None:
    """A proxy that refuses is `proxy_refused`; one that does not respond to CONNECT is `timeout_connect`."""
    proxy = world.proxy(status=status)
    url, receiver = world.receiver()
    assert kind_of(response_of(world.client(proxy.port), request_to(f"{url}/ok", timeout_ms=500))) == kind
    assert receiver.connections == 0


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"x" * 40_000])
def test_proxy_that_does_not_speak_http_is_refused(world: World, response: bytes) -> None:
    """A proxy that closes, sends half a response, another protocol or endless headers is `proxy_refused`."""
    proxy = world.proxy(response=response)
    url, receiver = world.receiver()
    assert kind_of(response_of(world.client(proxy.port), request_to(f"{url}/ok"))) == "proxy_refused"
    assert receiver.connections == 0


def test_bytes_after_the_proxys_response_are_the_endpoints(world: World) -> None:
    """An endpoint may respond at once: its bytes may come in one packet with the proxy's interim and final response."""
    sent = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 429 Wait\r\nRetry-After: 7\r\n\r\nbody"
    proxy = world.proxy(response=sent)
    response = response_of(world.client(proxy.port), request_to(f"http://{HOST}:8080/"))
    assert response == Response(429, "7", b"body", False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_large_bodies_arrive_whole(world: World, scheme: str) -> None:
    """Bodies of megabytes pass a tunnel in both directions, over kept connections."""
    proxy = world.proxy()
    receiver = HostileReceiver(world.authority.server(HOST) if scheme == "https" else None)
    world.closing.callback(receiver.close)
    client = world.client(proxy.port)
    for _ in range(2):
        request = request_to(f"{scheme}://{HOST}:{receiver.port}/echo?50000", body=b"x" * 5_000_000, timeout_ms=60_000)
        response = response_of(client, request)
        assert isinstance(response, Response)
        assert (response.status, response.body_cut, response.body[:10]) == (200, True, b"." * 10)
    assert [len(request.partition(b"\r\n\r\n")[2]) for request in receiver.requests] == [5_000_000] * 2


def test_client_certificates_and_tls_sessions_work_through_a_tunnel(world: World) -> None:
    """An endpoint that requests a client certificate gets it through the proxy; its TLS session is resumed."""
    proxy = world.proxy()
    url, receiver = world.receiver(clients=True)
    client = world.client(proxy.port)
    identity = ClientIdentity(*world.authority.client("acme"))
    for _ in range(3):
        request = request_to(f"{url}/ok-and-close")
        request.identity = identity
        assert response_of(client, request) == EMPTY
    assert receiver.clients == ["acme"] * 3
    assert receiver.resumed == [False, True, True]
    assert kind_of(response_of(client, request_to(f"{url}/ok"))) == "tls_client_certificate"


@pytest.mark.parametrize("world", ["https"], indirect=True)
def test_proxy_with_certificate_of_another_name_gets_no_credentials(world: World) -> None:
    """An https:// proxy with a certificate of another name gets neither password nor CONNECT."""
    proxy = world.proxy(certificate_for="other.corp.example", credentials="sign:word")
    url, receiver = world.receiver()
    error = response_of(world.client(proxy.port, user="sign:word@"), request_to(f"{url}/ok"))
    assert isinstance(error, TransportError)
    assert error.kind == "proxy_unreachable"
    assert "not valid for" in error.detail
    assert (proxy.requests, receiver.connections) == ([], 0)


@pytest.mark.parametrize("world", ["https"], indirect=True)
def test_https_proxy_without_tls_is_unreachable(world: World) -> None:
    """An https:// proxy that responds without TLS, or whose handshake stalls, is `proxy_unreachable`."""
    url, _ = world.receiver()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = response_of(world.client(silent.getsockname()[1]), request_to(f"{url}/ok", timeout_ms=500))
        assert error == TransportError("proxy_unreachable", "no complete connection to the proxy within 0.5 s")
    plain = socket.create_server(("127.0.0.1", 0))
    world.closing.callback(stop_listening, plain)
    serve_each(plain, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert kind_of(response_of(world.client(plain.getsockname()[1]), request_to(f"{url}/ok"))) == "proxy_unreachable"


def test_unreachable_proxy_is_not_bypassed(world: World) -> None:
    """A proxy without an address, or that does not listen, is `proxy_unreachable`; no request bypasses it."""
    url, receiver = world.receiver()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for host in ("proxy.corp.example", "no.such.proxy.example", "127.0.0.1"):
            error = response_of(world.client(port, host=host), request_to(f"{url}/ok"))
            assert kind_of(error) == "proxy_unreachable"
    assert receiver.connections == 0


def test_environment_variables_do_not_bypass_the_proxy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`no_proxy`, `NO_PROXY` and `https_proxy` have no effect."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", HOST)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    proxy = world.proxy()
    url, _ = world.receiver()
    assert response_of(world.client(proxy.port), request_to(f"{url}/ok")) == EMPTY
    assert len(proxy.requests) == 1


def test_socket_connects_to_the_proxy_only(world: World) -> None:
    """The socket refuses every address but the proxy's, even if one reached it by mistake."""
    url, receiver = world.receiver()
    names = ProxyResolver(Proxy.of("http://127.0.0.3:3128"), Resolver(POLICY, [world.dns.address]), Resolver(ANYWHERE))
    client = HttpClient(names, Resolver(POLICY, [world.dns.address]))
    world.closing.callback(client.close)
    assert kind_of(response_of(client, request_to(f"{url}/ok"))) == "blocked_address"
    assert receiver.connections == 0


def test_address_of_the_proxy_outlives_its_ttl(world: World) -> None:
    """A socket opened just after the TTL of the proxy's name may still connect to its address."""
    now = 0.0
    proxies = Resolver(ANYWHERE, [world.dns.address], monotonic=lambda: now)
    world.closing.callback(proxies.close)
    targets = Resolver(POLICY, [world.dns.address])
    names = ProxyResolver(Proxy.of("http://proxy.corp.example:3128"), targets, proxies)
    world.closing.callback(targets.close)
    wait_until(lambda: names.ended() or names.lookup("127.0.0.1", 80), what="the proxy's name is known")
    assert names.lookup("127.0.0.1", 80) is not None
    now = 61.0
    assert names.refusal("127.0.0.1") is None
    assert names.refusal("127.0.0.2") is not None


def test_proxy_errors_are_logged_once_a_minute(world: World) -> None:
    """An error of the proxy is logged once a minute, not for each attempt, and without the password."""
    proxy = world.proxy(credentials="sign:word")
    url, _ = world.receiver()
    client = world.client(proxy.port, user="sign:wrong@")
    with structlog.testing.capture_logs() as logged:
        completed_of(client, *[request_to(f"{url}/ok") for _ in range(5)])
    [line] = logged
    assert (line["event"], line["log_level"], line["kind"]) == ("request.send_failed", "warning", "proxy_auth")
    assert "setting proxy" in line["detail"]
    assert "wrong" not in str(line)


@pytest.mark.parametrize("url", ["proxy:3128", "socks5://proxy", "http://", "http://proxy:port", ""])
def test_error_for_a_wrong_proxy_url_does_not_contain_it(url: str) -> None:
    """The error for a wrong proxy URL does not contain the URL, which may contain a password."""
    with pytest.raises(SettingsError, match="write http://host:port") as error:
        Proxy.of(url)
    assert not url or url not in str(error.value).replace("http://host:port", "")

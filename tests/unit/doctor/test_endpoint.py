"""`signpost doctor` and an endpoint: DNS, address policy, TCP, proxy, TLS, certificate, without a request."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.delivery.http.connection_probe import Connected, ConnectionProbe
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.proxy import ANYWHERE, Proxy, ProxyResolver
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import ClientIdentity
from consumers.delivery.inline_deliveries import InlineResult
from deploy.dev import kafka
from deploy.doctor.checks.endpoint import check_connection, check_response, check_state
from deploy.doctor.findings import Finding, NotObserved, Observed, Severity
from schemas.records.health import Health
from tests.support.certificates import Authority, When
from tests.support.dns import BROKEN, NO_NAME, SILENCE, DnsServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.hostile import HostileReceiver
from tests.support.http_client import LOCAL
from tests.support.installation import subscription
from tests.support.listening import serve_each, stop_listening

HOST = "hooks.example.com"


@dataclass(slots=True)
class World:
    """An endpoint with TLS, its authority, and a DNS server; names that are not in `zone` are on this machine."""

    authority: Authority
    receiver: HostileReceiver
    dns: DnsServer
    zone: dict[str, list[str]] = field(default_factory=dict)
    timeout_ms: int = 5_000

    def findings(
        self, host: str = HOST, *, scheme: str = "https", port: int = 0, identity: ClientIdentity | None = None
    ) -> list[Finding]:
        """Return what doctor finds about the endpoint."""
        resolver = Resolver(LOCAL, [self.dns.address], timeout_s=1.0)
        return self.probed(ConnectionProbe(LOCAL, resolver, self.options()), host, scheme, port, identity)

    def through(self, proxy: Proxy) -> list[Finding]:
        """Return what doctor finds about the endpoint behind a proxy."""
        targets, proxies = (Resolver(policy, [self.dns.address], timeout_s=1.0) for policy in (LOCAL, ANYWHERE))
        resolver = ProxyResolver(proxy, targets, proxies)
        return self.probed(ConnectionProbe(resolver, resolver, self.options(proxy)), HOST, "https", 0, None)

    def options(self, proxy: Proxy | None = None) -> ClientOptions:
        return ClientOptions(roots=str(self.authority.roots), proxy=proxy, max_connections=1)

    def probed(
        self, probe: ConnectionProbe, host: str, scheme: str, port: int, identity: ClientIdentity | None
    ) -> list[Finding]:
        target = LOCAL.check_url(f"{scheme}://{host}:{port or self.receiver.port}/hook")
        try:
            result = probe.connect(target, identity, self.timeout_ms)
        finally:
            probe.close()
        return check_connection("sub-1", host, Observed(result), datetime.now(UTC))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as closing:
        zone: dict[str, list[str]] = {}
        dns = DnsServer(lambda name, _times: zone.get(name, ["127.0.0.1"]), ttl=60)
        closing.callback(dns.close)
        authority = Authority(tmp_path)
        receiver = HostileReceiver(authority.server(HOST))
        closing.callback(receiver.close)
        yield World(authority, receiver, dns, zone)
        assert receiver.requests == []


def codes(findings: list[Finding]) -> list[str]:
    """Return the codes; each finding is complete."""
    for finding in findings:
        assert finding.what
        assert finding.do
        assert "sub-1" in finding.where
    return [finding.code for finding in findings]


def test_healthy_endpoint_has_no_finding(world: World) -> None:
    """Doctor connects to an endpoint up to the end of the TLS handshake, sends nothing, and finds nothing."""
    assert world.findings() == []
    assert world.receiver.connections == 1
    assert world.receiver.resumed == [False]


def test_endpoint_without_tls_has_no_finding(world: World) -> None:
    """An allowed http:// endpoint is connected to."""
    assert world.findings(scheme="http") == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [([NO_NAME], "dns"), ([BROKEN], "dns"), ([SILENCE], "dns_timeout"), (["10.0.0.1"], "blocked_address")],
)
def test_names_are_resolved_and_checked(world: World, answer: list[str], code: str) -> None:
    """A name without an address, a silent DNS server, and an address that is not allowed are found."""
    world.zone["wrong.example.com"] = answer
    assert codes(world.findings("wrong.example.com")) == [code]
    assert world.receiver.connections == 0


@pytest.mark.parametrize(
    ("context", "code"),
    [
        (lambda authority: authority.server("other.example.com"), "tls_hostname"),
        (lambda authority: authority.server(HOST, when="past"), "tls_expired"),
        (lambda authority: authority.server(HOST, when="future"), "tls_expired"),
        (lambda authority: authority.server(HOST, self_signed=True), "tls_untrusted"),
        (lambda authority: authority.old_server(HOST), "tls_version"),
        (lambda authority: authority.server(HOST, clients=True), "tls_client_certificate"),
    ],
)
def test_wrong_certificates_are_found(world: World, context: Callable[[Authority], ssl.SSLContext], code: str) -> None:
    """Doctor names the failure that a delivery would have, also one that the endpoint reports after the handshake."""
    world.receiver.present(context(world.authority))
    (finding,) = world.findings()
    assert codes([finding]) == [code]
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(("when", "expected"), [("ending", ["certificate_expires"]), ("now", [])])
def test_certificate_that_expires_soon_is_a_warning(world: World, when: When, expected: list[str]) -> None:
    """A certificate with less than a fifth of its lifetime left should have been renewed; a short one may be new."""
    world.receiver.present(world.authority.server(HOST, when=when))
    findings = world.findings()
    assert codes(findings) == expected
    assert all(finding.severity is Severity.WARNING for finding in findings)


def test_certificate_that_cannot_be_parsed_has_no_finding() -> None:
    """TLS has accepted it, so deliveries succeed. The bytes are the endpoint's, and must not end the report."""
    probed = Observed(Connected(("192.0.2.1",), b"\x30\x00"))
    assert check_connection("sub-1", HOST, probed, datetime.now(UTC)) == []


def test_client_certificate_is_used(world: World) -> None:
    """An endpoint that requires client certificates accepts that of the subscription."""
    world.receiver.present(world.authority.server(HOST, clients=True))
    assert world.findings(identity=ClientIdentity(*world.authority.client("acme"))) == []


def test_endpoint_that_does_not_listen_is_found(world: World) -> None:
    """A closed port is `refused`."""
    assert codes(world.findings(port=kafka.free_port())) == ["refused"]


def test_stalled_handshake_is_found(world: World) -> None:
    """An endpoint that accepts connections and does not shake hands is `timeout_tls`."""
    world.receiver.handshake.clear()
    world.timeout_ms = 300
    assert codes(world.findings()) == ["timeout_tls"]
    world.receiver.handshake.set()


def test_endpoint_that_hangs_up_is_found(world: World) -> None:
    """An endpoint that closes each connection after the handshake is `reset`."""
    context = world.authority.server(HOST)
    listener = socket.create_server(("127.0.0.1", 0))
    serve_each(listener, lambda connection: context.wrap_socket(connection, server_side=True).close())
    try:
        assert codes(world.findings(port=listener.getsockname()[1])) == ["reset"]
    finally:
        stop_listening(listener)


@pytest.mark.parametrize(
    ("status", "credentials", "expected"),
    [(200, "", []), (200, "user:password", ["proxy_auth"]), (403, "", ["proxy_refused"])],
)
def test_endpoints_behind_a_proxy_are_checked(world: World, status: int, credentials: str, expected: list[str]) -> None:
    """With a forward proxy doctor connects through it, to the address that it has checked."""
    with contextlib.closing(ForwardProxy(status=status, credentials=credentials)) as proxy:
        found = world.through(Proxy("http", "127.0.0.1", proxy.port))
        assert [finding.code for finding in found] == expected
        assert all(request.startswith(f"CONNECT 127.0.0.1:{world.receiver.port} ") for request in proxy.requests)


def test_proxy_that_does_not_listen_is_found(world: World) -> None:
    """A proxy that refuses connections is named as the cause, not the endpoint."""
    found = world.through(Proxy("http", "127.0.0.1", kafka.free_port()))
    assert [finding.code for finding in found] == ["proxy_unreachable"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Observed(InlineResult(7, 204)), []),
        (Observed(InlineResult(7, 500)), ["test_event_refused"]),
        (Observed(InlineResult(7, 410)), ["test_event_refused"]),
        (Observed(InlineResult(7, None, "response timed out")), ["test_event_refused"]),
        (NotObserved("the topic tests cannot be written"), ["test_event_not_sent"]),
    ],
)
def test_response_to_a_test_event_is_checked(result: Observed[InlineResult] | NotObserved, expected: list[str]) -> None:
    """Only a 2xx is no finding. The advice for a status is in words, without a link."""
    found = check_response("sub-1", HOST, result)
    assert codes(found) == expected
    assert all("](" not in finding.do for finding in found)


def health(**fields: object) -> Health:
    """Return the health of an endpoint that fails."""
    given = {
        "subscription_id": "sub-1",
        "customer_id": "acme",
        "sender": "zenoo",
        "activation": 1,
        "failing_since_ms": 1_771_236_060_000,
        "reported": True,
        "disabled_at_ms": None,
        "reason": "",
        "last_status": 503,
        "last_error": None,
        "updated_at_ms": 1_771_236_060_000,
    }
    return Health(**(given | fields))  # type: ignore[arg-type]  # fields of a Health


@pytest.mark.parametrize(
    ("fields", "known", "expected"),
    [
        ({}, None, []),
        ({"paused": True}, None, ["subscription_paused"]),
        ({"event_types": ()}, None, ["subscription_without_events"]),
        ({}, health(), ["endpoint_failing"]),
        ({}, health(disabled_at_ms=1, reason="failing", last_status=None, last_error="dns"), ["endpoint_disabled"]),
        ({}, health(disabled_at_ms=1, reason="gone", last_status=410), ["endpoint_disabled"]),
        ({}, health(activation=0), []),
    ],
)
def test_state_of_a_subscription_is_checked(
    fields: dict[str, object], known: Health | None, expected: list[str]
) -> None:
    """A paused, disabled or failing subscription is named; health of a former activation does not count."""
    found = check_state(subscription("sub-1", **({"activation": 1} | fields)), known, datetime.now(UTC))
    assert codes(found) == expected

"""TLS: verification of endpoints, client certificates, session resumption, failures."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consumers.delivery.http import tls
from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import ClientIdentity, Response, ResponseOrError, TransportError
from schemas.catalog.failures import FailureKind
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.http_client import completed_of, local_client, poll, request_to, response_of

pytestmark = pytest.mark.promise(5)

HOST = "hooks.example.com"
EMPTY = Response(200, None, b"", False)


@dataclass(slots=True)
class World:
    """A certificate authority, a client that trusts it, and a DNS server that resolves every name to this machine."""

    authority: Authority
    client: HttpClient
    distrusting: HttpClient
    closing: contextlib.ExitStack

    def receiver(self, tls: ssl.SSLContext) -> tuple[str, HostileReceiver]:
        """Start a receiver with this context; return its URL and the receiver."""
        receiver = HostileReceiver(tls)
        self.closing.callback(receiver.close)
        return f"https://{HOST}:{receiver.port}", receiver


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as closing:
        authority = Authority(tmp_path)
        dns = DnsServer(lambda _name, _times: ["127.0.0.1"], ttl=60)
        closing.callback(dns.close)
        trusting, distrusting = (
            local_client(dns_servers=[dns.address], roots=roots) for roots in (str(authority.roots), None)
        )
        for client in (trusting, distrusting):
            closing.callback(client.close)
        yield World(authority, trusting, distrusting, closing)


def kind_of(result: ResponseOrError) -> FailureKind:
    """Return the kind of a transport error."""
    assert isinstance(result, TransportError), result
    return result.kind


def test_endpoint_with_a_trusted_certificate_gets_requests(world: World) -> None:
    """A certificate of a trusted authority for the name of the URL is accepted; the connection is reused."""
    url, receiver = world.receiver(world.authority.server(HOST))
    for body in (b"{}", b"x" * 250_000, b"{}"):
        assert response_of(world.client, request_to(f"{url}/ok", body=body)) == EMPTY
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("host", "when", "kind"),
    [
        ("other.example.com", "now", "tls_hostname"),
        ("example.com", "now", "tls_hostname"),
        (HOST, "past", "tls_expired"),
        (HOST, "future", "tls_expired"),
    ],
)
def test_endpoint_with_a_wrong_certificate_gets_nothing(world: World, host: str, when: Any, kind: FailureKind) -> None:
    """With the certificate of another name, or one not valid today, the request is not sent, and the error says why."""
    url, receiver = world.receiver(world.authority.server(host, when=when))
    assert kind_of(response_of(world.client, request_to(f"{url}/ok"))) == kind
    assert receiver.requests == []


@pytest.mark.parametrize("self_signed", [False, True])
def test_unknown_authority_is_not_trusted(world: World, self_signed: bool) -> None:
    """A self-signed certificate, or one of an authority that is not in `ca_bundle`, is `tls_untrusted`."""
    url, receiver = world.receiver(world.authority.server(HOST, self_signed=self_signed))
    client = world.client if self_signed else world.distrusting
    assert kind_of(response_of(client, request_to(f"{url}/ok"))) == "tls_untrusted"
    assert receiver.requests == []


def test_old_versions_of_tls_are_refused(world: World) -> None:
    """An endpoint with TLS 1.1 at most is `tls_version`."""
    url, receiver = world.receiver(world.authority.old_server(HOST))
    assert kind_of(response_of(world.client, request_to(f"{url}/ok"))) == "tls_version"
    assert receiver.requests == []


def test_endpoint_without_tls_is_a_tls_failure(world: World) -> None:
    """An endpoint that responds without TLS is `tls_failed`; one whose handshake stalls is `timeout_tls`."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as plain:
        urls = [f"https://{HOST}:{listener.getsockname()[1]}/" for listener in (silent, plain)]
        for url in urls:
            world.client.start(request_to(url, timeout_ms=500, context=url))
        plain.settimeout(10)
        poll(world.client, 0.1)
        poll(world.client, 0.1)
        connection, _ = plain.accept()
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        results = {each.request.context: each.response for each in completed_of(world.client)}
        connection.close()
    assert results[urls[0]] == TransportError("timeout_tls", "no complete TLS handshake within 0.5 s")
    assert kind_of(results[urls[1]]) == "tls_failed"


@pytest.mark.parametrize("how", ["mid-headers", "no-chunk", "mid-body", "never"])
def test_incomplete_responses_are_classified_as_without_tls(world: World, how: str) -> None:
    """Over TLS as without it, complete headers are a response and incomplete ones are an error."""
    url, _ = world.receiver(world.authority.server(HOST))
    result = response_of(world.client, request_to(f"{url}/{how}", timeout_ms=500))
    assert isinstance(result, Response) == (how in ("no-chunk", "mid-body"))


def test_sessions_are_resumed(world: World) -> None:
    """A second connection to an endpoint resumes the TLS session of the first."""
    url, receiver = world.receiver(world.authority.server(HOST))
    for _ in range(3):
        assert response_of(world.client, request_to(f"{url}/ok-and-close")) == EMPTY
    assert receiver.connections == 3
    assert receiver.resumed == [False, True, True]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate_is_sent_on_request(world: World, version: ssl.TLSVersion) -> None:
    """An endpoint that requests a certificate gets that of the subscription. Without a trusted one it refuses."""
    context = world.authority.server(HOST, clients=True)
    context.minimum_version = context.maximum_version = version
    url, receiver = world.receiver(context)
    own, stranger = (ClientIdentity(*world.authority.client("acme", trusted=trusted)) for trusted in (True, False))
    results = []
    for identity in (own, None, stranger):
        request = request_to(f"{url}/ok")
        request.identity = identity
        results.append(response_of(world.client, request))
    assert results[0] == EMPTY
    assert receiver.clients == ["acme"]
    assert len(receiver.requests) == 1
    # TLS 1.2 has no alert for a certificate that is missing.
    missing = "tls_failed" if version == ssl.TLSVersion.TLSv1_2 else "tls_client_certificate"
    assert [kind_of(result) for result in results[1:]] == [missing, "tls_client_certificate"]


@pytest.mark.parametrize("how", ["ok-body", "ok-and-close"])
def test_client_certificates_never_mix(world: World, how: str) -> None:
    """Requests to one host with several certificates, and without, each use their own, in resumed sessions too."""
    context = world.authority.server(HOST, clients=True)
    context.verify_mode = ssl.CERT_OPTIONAL
    url, receiver = world.receiver(context)
    names = ["acme", "bolt", None]
    shown = {name: ClientIdentity(*world.authority.client(name)) if name else None for name in names}
    for name in names * 4:
        request = request_to(f"{url}/{how}")
        request.headers.append(f"X-Name: {name}".encode())
        request.identity = shown[name]
        assert isinstance(response_of(world.client, request), Response)
    requests = [request_to(f"{url}/{how}", context=name) for name in names * 20]
    for request in requests:
        request.headers.append(f"X-Name: {request.context}".encode())
        request.identity = shown[request.context]  # type: ignore[index]  # its own context
    assert len(completed_of(world.client, *requests)) == len(requests)
    assert len(receiver.requests) == len(receiver.clients) == 72
    for sent, client in zip(receiver.requests, receiver.clients, strict=True):
        assert f"X-Name: {client}\r\n".encode() in sent


def test_unusable_client_certificate_fails_only_its_own_requests(world: World) -> None:
    """A certificate or key that OpenSSL does not accept fails only the requests that show it."""
    url, _ = world.receiver(world.authority.server(HOST))
    certificate, key = world.authority.client("acme")
    for identity in (ClientIdentity(b"no certificate", key), ClientIdentity(certificate, b"such a key")):
        request = request_to(f"{url}/ok")
        request.identity = identity
        result = response_of(world.client, request)
        assert kind_of(result) == "tls_client_certificate"
        assert "such a key" not in str(result)
    assert response_of(world.client, request_to(f"{url}/ok")) == EMPTY


def test_no_client_certificate_file_remains_without_memfd(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memfd, as on macOS, the certificate is briefly in a file that only its user can read."""
    folder, modes = tmp_path / "temporary", []
    folder.mkdir()

    @contextlib.contextmanager
    def watched(content: bytes) -> Iterator[str]:
        with tls.temporary_file(content) as path:
            modes.append(Path(path).stat().st_mode & 0o777)
            yield path

    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(tls, "private_file", watched)
    url, receiver = world.receiver(world.authority.server(HOST, clients=True))
    request = request_to(f"{url}/ok")
    request.identity = ClientIdentity(*world.authority.client("acme"))
    assert response_of(world.client, request) == EMPTY
    assert receiver.clients == ["acme"]
    assert modes == [0o600]
    assert list(folder.iterdir()) == []


class Resetting(threading.Thread):
    """Accepts a connection. `reset` ends it with bytes that are not TLS and an RST."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start_reset = threading.Event()
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        connection, _ = self._listener.accept()
        self._start_reset.wait(20)
        connection.sendall(b"no TLS")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self._listener.close()
        self._done.set()

    def reset(self) -> None:
        """Reset the connection; return when that is done."""
        self._start_reset.set()
        self._done.wait(20)


def test_reset_before_the_handshake_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that resets a connection between connect and TLS handshake fails only its own requests."""
    receiver = Resetting()
    private_file = tls.private_file

    def reset_before_loading(content: bytes) -> AbstractContextManager[str]:
        """Reset the connection after connect, when the client certificate is loaded for its handshake."""
        receiver.reset()
        return private_file(content)

    monkeypatch.setattr(tls, "private_file", reset_before_loading)
    request = request_to(f"https://{HOST}:{receiver.port}/")
    request.identity = ClientIdentity(*world.authority.client("acme"))
    assert kind_of(response_of(world.client, request)) == "reset"


def test_slow_handshake_ends_at_the_deadline(world: World) -> None:
    """A request to an endpoint that sends its handshake byte by byte ends at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x40\x00")
                while not done.wait(0.02):
                    connection.sendall(b"\x02")

        threading.Thread(target=drip, daemon=True).start()
        url = f"https://{HOST}:{listener.getsockname()[1]}/"
        result = response_of(world.client, request_to(url, timeout_ms=400))
        done.set()
    assert kind_of(result) == "timeout_tls"

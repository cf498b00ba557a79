"""A delivery process behind a forward proxy, with endpoints that require client certificates."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from deploy.dev.broker import Broker
from producers.subscriptions.changes import Apply
from schemas.subscriptions.client_certificate import read_certificate
from schemas.subscriptions.rules import Draft, Given
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.hostile import HostileReceiver
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

HOST = "hooks.example.com"
PASSWORD = "word-5f0c2a"


def subscribe(pipeline: Pipeline, authority: Authority, mtls_port: int, other_port: int) -> None:
    """Subscribe three times to the mTLS endpoint, once to one with another name, and once to an internal address."""
    urls = [f"https://{HOST}:{mtls_port}/ok"] * 3 + [f"https://{HOST}:{other_port}/ok", "https://inside.example.com/"]
    names = ["acme", "bolt", None, None, None]
    for number, (url, name) in enumerate(zip(urls, names, strict=True)):
        certificate = None if name is None else read_certificate(*(each.decode() for each in authority.client(name)))
        draft = Draft(
            id=f"sub-{number}",
            sender="zenoo",
            customer_id=pipeline.customer,
            url=url,
            event_types=("*",),
            secret=Given(SECRET),
            client_certificate=certificate,
        )
        pipeline.write(Apply(draft))


def first_attempts(pipeline: Pipeline) -> dict[str, set[tuple[str, str | None]]]:
    """Return state and error of the outcomes of each subscription."""
    found: dict[str, set[tuple[str, str | None]]] = {f"sub-{number}": set() for number in range(5)}
    for outcome in pipeline.outcomes():
        found[outcome["subscription_id"]].add((outcome["state"], outcome["error"]))
    return found


def test_client_certificates_ca_bundle_and_proxy_work_together(
    broker: Broker, prefix: str, start_role: RoleStarter, tmp_path: Path
) -> None:
    """Each subscription presents its own client certificate through the proxy; outcomes have the kind of failure."""
    with contextlib.ExitStack() as closing:
        authority = Authority(tmp_path)
        dns = DnsServer(lambda name, _times: ["127.0.0.1" if name == HOST else "10.0.0.1"], ttl=60)
        proxy = ForwardProxy(credentials=f"sign:{PASSWORD}")
        mtls = HostileReceiver(authority.server(HOST, clients=True))
        other = HostileReceiver(authority.server("other.example.com"))
        for each in (dns, proxy, mtls, other):
            closing.callback(each.close)
        pipeline = Pipeline(
            broker.bootstrap_servers,
            prefix,
            start_role,
            proxy=f"http://sign:{PASSWORD}@127.0.0.1:{proxy.port}",
            ca_bundle=str(authority.roots),
            dns_servers=[dns.address],
        )
        subscribe(pipeline, authority, mtls.port, other.port)
        pipeline.router()
        deliver = pipeline.deliver()
        pipeline.publish_some(2)

        wait_until(lambda: all(first_attempts(pipeline).values()), 60, what="each subscription has an attempt")
        found = first_attempts(pipeline)
        log = deliver.log_text()
    assert found["sub-0"] == found["sub-1"] == {("delivered", None)}
    assert found["sub-2"] == {("retry", "tls_client_certificate")}
    assert found["sub-3"] == {("retry", "tls_hostname")}
    assert found["sub-4"] == {("retry", "blocked_address")}
    assert set(mtls.clients) == {"acme", "bolt"}
    assert all(head.startswith("CONNECT 127.0.0.1:") for head in proxy.requests)
    assert PASSWORD not in log
    assert 'signpost_delivery_transport_errors_total{kind="tls_hostname"}' in deliver.get("/metrics")[1]

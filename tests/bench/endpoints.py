"""Delivery to one, a hundred and ten thousand hosts, and over TLS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from tests.bench.measure import peak_mib, throughput_of
from tests.bench.sink import Sink
from tests.bench.stage import Bench
from tests.support.certificates import Authority
from tests.support.dns import DnsServer

_HOSTS: Final = (1, 100, 10_000)
_TLS_HOST: Final = "hooks.example.com"


def endpoints(bench: Bench) -> dict[str, Any]:
    """Delivery to 1, 100 and 10,000 host names, and over TLS to 100 subscriptions of one host."""
    jobs = bench.scaled(50_000)
    with tempfile.TemporaryDirectory(prefix="signpost-bench-") as folder:
        authority = Authority(Path(folder))
        dns = DnsServer(lambda _name, _times: ["127.0.0.1"], ttl=60)
        try:
            with Sink(authority.server_file(_TLS_HOST)) as sink:
                found = {
                    str(hosts): _deliver(
                        bench, sink, hosts, jobs, f"http://h{{}}.example.com:{sink.port}/", dns_servers=[dns.address]
                    )
                    for hosts in sorted({bench.scaled(hosts, 100) for hosts in _HOSTS})
                }
                url = f"https://{_TLS_HOST}:{sink.tls_port}/h{{}}"
                tls = _deliver(bench, sink, 100, jobs, url, dns_servers=[dns.address], ca_bundle=str(authority.roots))
        finally:
            dns.close()
    return {"jobs": jobs, "hosts": found, "tls": tls}


def _deliver(bench: Bench, sink: Sink, subscriptions: int, jobs: int, url: str, **settings: Any) -> dict[str, Any]:
    with bench.stage() as stage:
        subscribed = stage.subscribed(subscriptions, url=url)
        stage.fill(stage.jobs_for(subscribed, jobs))
        counted = sink.counted()
        role = stage.deliver(ready=False, **settings)
        throughput = throughput_of([role], counted, begin=0.25 * jobs, end=0.95 * jobs)
        deferred = role.metric("signpost_delivery_deferred_total")
        return {
            "rate": round(throughput.rate),
            "cpu_us": round(throughput.cpu_us, 1),
            "deferred": deferred,
            "rss_peak_mib": peak_mib(role),
        }

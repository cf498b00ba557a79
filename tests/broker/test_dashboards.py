"""Every query of the dashboards returns data from a Prometheus that scraped a real run."""

from __future__ import annotations

from pathlib import Path

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path
from tests.support.api import client_of, key_of, start_api
from tests.support.dashboards import queries
from tests.support.parts import need
from tests.support.pipeline import Pipeline
from tests.support.prometheus import Prometheus, prometheus
from tests.support.topics import produce
from tests.support.waiting import wait_until

EVENTS = 30


def all_have_data(server: Prometheus) -> bool:
    """Return whether every query returns series; AssertionError with those that return none."""
    empty = [str(shown) for shown in queries() if not server.query(shown.sent("1m"))]
    assert empty == []
    return True


def test_every_query_returns_data(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> None:
    """After events, deliveries, a failing endpoint and requests to the API no panel of a dashboard is empty."""
    need("prometheus")
    receiver.behave = by_path({"/failing": always(CannedResponse(500))}, always(CannedResponse()))
    base = receiver.url.rstrip("/")
    pipeline.subscribe(f"{base}/well", f"{base}/failing")
    database = f"sqlite:///{tmp_path / 'ledger.db'}"
    roles = pipeline.router(), pipeline.deliver(), pipeline.ledger(database), start_api(pipeline, database)
    client = client_of(roles[-1], key_of(pipeline, "onboarding").text)
    with prometheus(tmp_path / "prometheus", *roles) as server:
        server.wait_scraped(len(roles))
        # A rate needs an increase between two scrapes: the counters of a process exist before its first event.
        pipeline.publish_some(EVENTS)
        client.post("/api/v1/webhooks/", {"event_type": "all", "webhook_url": receiver.url})
        client.get("/api/v1/webhooks/")
        receiver.wait_for(2 * EVENTS)
        wait_until(lambda: all_have_data(server), 60, "every query returns data")


def test_overview_names_a_firing_alert(pipeline: Pipeline, tmp_path: Path) -> None:
    """The table of the overview has one row that says that nothing is wrong, until an alert fires."""
    need("prometheus")
    router = pipeline.router()
    (table,) = [shown for shown in queries() if "ALERTS{" in shown.expression]
    with prometheus(tmp_path / "prometheus", router) as server:
        server.wait_scraped(1)
        assert [row["metric"]["alertname"] for row in server.query(table.sent("1m"))] == ["none"]
        produce(pipeline.bootstrap_servers, pipeline.events_topic, b"nobody can read this")
        wait_until(lambda: "SignpostUnreadableRecords" in server.alerts(), 60, "the alert fires")
        (row,) = wait_until(lambda: server.query(table.sent("1m")), 10, "the table has rows")
        assert row["metric"]["alertname"] == "SignpostUnreadableRecords"
        assert row["metric"]["severity"] == "page"

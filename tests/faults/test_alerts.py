"""Planted trouble, a real Prometheus with our rules, and the alerts that fire: the intended ones and no others.

The rules are those of deploy/prometheus/ with every duration divided by SPEED (tests/support/prometheus.py): an alert
that waits for half an hour waits for a minute here. Thresholds of values are unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from deploy.dev.receiver import Receiver
from tests.support.parts import need
from tests.support.pipeline import Pipeline
from tests.support.prometheus import Prometheus, alert_rules, prometheus
from tests.support.proxy import Api, KafkaProxy, late
from tests.support.roles import Role
from tests.support.topics import produce
from tests.support.waiting import wait_until

HEALTHY: Final = 4
# The objective allows 5 s.
FETCH_S: Final = 7.0
SEVERITIES: Final = {name: rule["labels"]["severity"] for name, rule in alert_rules().items()}
DEAD: Final = {"SignpostEndpointsUnresponsive"}
UNREADABLE: Final = {"SignpostUnreadableRecords"}
STOPPED: Final = {"SignpostRoleMissing"}
SLOW: Final = {"SignpostDeliveryBudgetFastBurn", "SignpostDeliveryBudgetSlowBurn"}


class Watched:
    """An installation whose delivery uses the broker through a proxy, with a Prometheus that scrapes it."""

    def __init__(self, pipeline: Pipeline, proxy: KafkaProxy, server: Prometheus, ledger: Role) -> None:
        self.pipeline = pipeline
        self.proxy = proxy
        self.server = server
        self.ledger = ledger
        self.fired: set[str] = set()

    def watch(self, condition: Callable[[set[str]], bool], deadline_s: float, what: str) -> None:
        """Wait for a condition of the firing alerts; remember each alert that fires meanwhile."""

        def is_met() -> bool:
            firing = self.server.alerts()
            self.fired |= firing
            assert condition(firing), f"firing: {sorted(firing)}"
            return True

        wait_until(is_met, deadline_s, what)

    def wait_firing(self, alerts: set[str], deadline_s: float = 150.0) -> None:
        """Wait until exactly these alerts fire."""
        self.watch(lambda firing: firing == alerts, deadline_s, f"only {sorted(alerts)} fire")

    def wait_fired(self, alerts: set[str], deadline_s: float = 150.0) -> None:
        """Wait until each of these alerts has fired."""
        self.watch(lambda _: alerts <= self.fired, deadline_s, f"{sorted(alerts)} have fired")


@contextmanager
def publishing(pipeline: Pipeline) -> Iterator[None]:
    """Publish an event every quarter of a second within the block."""
    ended = threading.Event()

    def publish() -> None:
        number = 0
        while not ended.wait(0.25):
            pipeline.publish_some(1, start=number)
            number += 1

    thread = threading.Thread(target=publish, name="publisher")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


@pytest.fixture
def watched(pipeline: Pipeline, receiver: Receiver, tmp_path: Path) -> Iterator[Watched]:
    need("prometheus")
    base = receiver.url.rstrip("/")
    pipeline.subscribe(*(f"{base}/{number}" for number in range(HEALTHY)))
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, pipeline._start_role)
        ledger = pipeline.ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
        roles = pipeline.router(), behind.deliver(), ledger
        with prometheus(tmp_path / "prometheus", *roles) as server, publishing(pipeline):
            server.wait_scraped(len(roles))
            yield Watched(pipeline, proxy, server, ledger)


def plant_dead_endpoint(watched: Watched) -> None:
    """Subscribe an endpoint on a port at which nobody listens."""
    watched.pipeline.subscribe("http://127.0.0.1:1/dead", start=HEALTHY)


def plant_unreadable_records(watched: Watched) -> None:
    """Write records to the source that nothing can decode."""
    for number in range(5):
        produce(watched.pipeline.bootstrap_servers, watched.pipeline.events_topic, b"nobody can read %d" % number)


def plant_stopped_ledger(watched: Watched) -> None:
    """Stop the ledger, as an operator might by mistake."""
    assert watched.ledger.terminate() == 0


def plant_slow_broker(watched: Watched) -> None:
    """Let each fetch of delivery take longer than the objective allows."""
    watched.proxy.delay = late(FETCH_S, Api.FETCH)


def test_unreadable_topic_wakes_somebody(watched: Watched) -> None:
    """Nothing fires on a healthy installation; unreadable records page, and nothing else does."""
    watched.wait_firing(set())
    plant_unreadable_records(watched)
    watched.wait_fired(UNREADABLE, 60)
    assert watched.fired == UNREADABLE
    assert {SEVERITIES[alert] for alert in watched.fired} == {"page"}


@pytest.mark.long
def test_planted_trouble_fires_the_intended_alerts_and_no_others(watched: Watched) -> None:
    """A dead endpoint makes a ticket and wakes nobody; unreadable records, a stopped ledger and a slow broker page."""
    watched.wait_firing(set())
    plant_dead_endpoint(watched)
    watched.wait_firing(DEAD)
    assert watched.fired == DEAD
    assert {SEVERITIES[alert] for alert in watched.fired} == {"ticket"}

    plant_unreadable_records(watched)
    watched.wait_fired(DEAD | UNREADABLE)
    assert watched.fired == DEAD | UNREADABLE

    plant_stopped_ledger(watched)
    watched.wait_fired(DEAD | UNREADABLE | STOPPED)
    assert watched.fired == DEAD | UNREADABLE | STOPPED

    plant_slow_broker(watched)
    watched.wait_fired(DEAD | UNREADABLE | STOPPED | SLOW)
    assert watched.fired == DEAD | UNREADABLE | STOPPED | SLOW
    assert {SEVERITIES[alert] for alert in watched.fired - DEAD} == {"page"}

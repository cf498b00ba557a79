"""One event that becomes more jobs than memory would hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from deploy.dev.broker import Broker
from schemas.records.topics import FIRST
from tests.support.installation import DATA, Installation, event, subscription
from tests.support.memory import MIB, peak_resident_bytes
from tests.support.roles import RoleStarter
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

SUBSCRIPTIONS = 2_000
PARTITIONS = 12
MAX_UNCOMMITTED = 100
BODY = 200 * 1024
# The producer's queue, and what the allocator, compression and requests under way add to it.
BOUND = 150 * MIB


def test_memory_is_bounded_whatever_an_event_becomes(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """An event of 200 KiB for 2,000 subscriptions, 400 MB of jobs, is sent in parts: all are made, once each."""
    # More than `max_uncommitted` by itself: it begins when nothing else is uncommitted, and is committed alone.
    here = Installation(broker.bootstrap_servers, prefix, partitions=PARTITIONS, max_uncommitted=MAX_UNCOMMITTED)
    here.make_topics()
    ids = [f"sub-{number}" for number in range(SUBSCRIPTIONS)]
    here.subscribe(*(subscription(id_) for id_ in ids))
    router = start_role(["router", "--instance", "0"], here.env).wait_ready()
    before = peak_resident_bytes(router.pid)
    here.publish([replace(event("evt_large"), data=DATA | {"entity_name": "x" * BODY}), event("evt_small")])
    labels = {"sender": "zenoo", "event_type": "case.created"}
    wait_until(
        lambda: router.metric("signpost_router_jobs_total", **labels) == 2 * SUBSCRIPTIONS, 60, "both are routed"
    )
    here.wait_routed(60)
    assert peak_resident_bytes(router.pid) - before < BOUND
    assert router.terminate() == 0
    keys: Counter[str] = Counter()
    for number in range(PARTITIONS):  # one after the other: they are the test's memory as well
        records = read_topic(here.bootstrap_servers, here.names.jobs(FIRST), partitions=[number])
        keys.update((record.key() or b"").decode() for record in records)
    assert keys == dict.fromkeys(ids, 2)


@pytest.mark.promise(1, 2)
def test_told_to_end_in_the_middle_of_an_event(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """SIGTERM while one event is being sent: it is sent whole and committed, and the next router makes none anew."""
    here = Installation(broker.bootstrap_servers, prefix).make_topics()
    ids = [f"sub-{number}" for number in range(SUBSCRIPTIONS)]
    here.subscribe(*(subscription(id_) for id_ in ids))
    router = start_role(["router", "--instance", "0"], here.env).wait_ready()
    here.publish([replace(event("evt_large"), data=DATA | {"entity_name": "x" * (BODY // 4)})])
    wait_until(lambda: router.metric("signpost_router_jobs_total") > 0, 30, "it is begun")
    assert router.terminate() == 0
    again = start_role(["router", "--instance", "0"], here.env).wait_ready()
    here.wait_routed()
    assert again.terminate() == 0
    records = read_topic(here.bootstrap_servers, here.names.jobs(FIRST))
    assert Counter((record.key() or b"").decode() for record in records) == dict.fromkeys(ids, 1)

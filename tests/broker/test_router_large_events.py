"""An event whose jobs would not fit into memory."""

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
# The producer's queue, plus overhead of the allocator, compression and requests in flight.
BOUND = 150 * MIB


def test_memory_is_bounded_whatever_the_fan_out(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """An event of 200 KiB for 2,000 subscriptions (400 MB of jobs) is produced in parts. Each job is created once."""
    # One event exceeds `max_uncommitted`: it starts when nothing else is uncommitted, and is committed alone.
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
    for number in range(PARTITIONS):  # one at a time, to bound the memory of the test
        records = read_topic(here.bootstrap_servers, here.names.jobs(FIRST), partitions=[number])
        keys.update((record.key() or b"").decode() for record in records)
    assert keys == dict.fromkeys(ids, 2)


@pytest.mark.promise(1, 2)
def test_sigterm_in_the_middle_of_an_event_finishes_it(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """On SIGTERM an event in progress is produced completely and committed. The next router repeats no job."""
    here = Installation(broker.bootstrap_servers, prefix).make_topics()
    ids = [f"sub-{number}" for number in range(SUBSCRIPTIONS)]
    here.subscribe(*(subscription(id_) for id_ in ids))
    router = start_role(["router", "--instance", "0"], here.env).wait_ready()
    here.publish([replace(event("evt_large"), data=DATA | {"entity_name": "x" * (BODY // 4)})])
    wait_until(lambda: router.metric("signpost_router_jobs_total") > 0, what="the first jobs are produced")
    assert router.terminate() == 0
    again = start_role(["router", "--instance", "0"], here.env).wait_ready()
    here.wait_routed()
    assert again.terminate() == 0
    records = read_topic(here.bootstrap_servers, here.names.jobs(FIRST))
    assert Counter((record.key() or b"").decode() for record in records) == dict.fromkeys(ids, 1)

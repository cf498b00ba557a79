"""A broker that stops responding: roles whose subscriptions table may be stale start and route nothing."""

from __future__ import annotations

import threading
from http.client import SERVICE_UNAVAILABLE

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Hang, Received, Reply
from producers.subscriptions.changes import Delete
from tests.support.pipeline import Pipeline
from tests.support.proxy import KafkaProxy
from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(7)


def behave(received: Received) -> Reply:
    """Never respond to the first request for `/slow`."""
    return Hang() if received.path == "/slow" and received.attempt == 1 else CannedResponse()


def test_roles_with_a_stale_table_start_and_route_nothing(
    pipeline: Pipeline, receiver: Receiver, start_role: RoleStarter
) -> None:
    """Roles without a response of the broker act on no subscription until they have read the changes made meanwhile."""
    responds = threading.Event()
    responds.set()
    receiver.behave = behave
    pipeline.subscribe(f"{receiver.url}slow")
    pipeline.subscribe(f"{receiver.url}deleted", customer="globex", start=1)
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        proxy.rule = lambda _frame: responds.wait()
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role)
        router, deliver = behind.router(), behind.deliver(max_in_flight=1, delay_speedup=60)
        committed = {"result": "committed"}  # a first commit, so that later only the stale table stops it
        wait_until(lambda: deliver.metric("signpost_delivery_transactions_total", **committed) > 0, what="it commits")
        pipeline.publish_some(1)
        receiver.wait_for(1)
        pipeline.publish_some(1, "globex", start=1)
        wait_until(
            lambda: deliver.metric("signpost_delivery_jobs_waiting", delay="0s") == 2,
            what="both jobs are buffered",
        )

        responds.clear()
        stale = "the broker does not confirm that the subscriptions table is current"
        wait_until(lambda: stale in deliver.log_text(), what="delivery logs why it paused")
        receiver.drop_connections()  # frees a permit for the other job
        pipeline.write(Delete("sub-1"))
        pipeline.subscribe(f"{receiver.url}made", customer="globex", start=2)
        pipeline.publish_some(1, "globex", start=2)
        wait_until(lambda: deliver.metric("signpost_delivery_in_flight_requests") == 0, what="the request has ended")
        wait_until(lambda: router.get("/readyz")[0] == SERVICE_UNAVAILABLE, what="the router routes nothing")
        assert len(receiver.requests) == 1
        responds.set()

        outcomes = pipeline.wait_for_ends(3)
    assert {request.path for request in receiver.requests} == {"/slow", "/made"}
    ends = {(one["subscription_id"], one["event_id"]): (one["state"], one["reason"]) for one in outcomes}
    assert ends["sub-1", "evt_1"] == ("cancelled", "deleted")
    assert ends["sub-2", "evt_2"] == ("delivered", "")
    assert {job.subscription_id for job in pipeline.jobs() if job.event_id == "evt_2"} == {"sub-2"}

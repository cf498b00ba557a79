"""Promise 7 where the broker falls silent: who has heard nothing about subscriptions for 5 s starts nothing."""

from __future__ import annotations

import threading
from http.client import SERVICE_UNAVAILABLE

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import Hang, Received, Reply, Response
from producers.subscriptions.changes import Delete
from tests.support.pipeline import Pipeline
from tests.support.proxy import KafkaProxy
from tests.support.roles import RoleStarter
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(7)


def behave(received: Received) -> Reply:
    """Take the first request for `/slow` and never answer."""
    return Hang() if received.path == "/slow" and received.attempt == 1 else Response()


def test_who_hears_nothing_for_5_s_starts_and_routes_nothing(
    pipeline: Pipeline, receiver: Receiver, start_role: RoleStarter
) -> None:
    """Deaf roles miss a delete and a create that were acknowledged, and act on neither before they have heard."""
    speaks = threading.Event()
    speaks.set()
    receiver.behave = behave
    pipeline.subscribe(f"{receiver.url}slow")
    pipeline.subscribe(f"{receiver.url}deleted", customer="globex", start=1)
    with KafkaProxy(pipeline.bootstrap_servers) as proxy:
        proxy.rule = lambda _frame: speaks.wait()
        behind = Pipeline(proxy.bootstrap_servers, pipeline.names.prefix, start_role)
        router, deliver = behind.router(), behind.deliver(max_in_flight=1, delay_speedup=60)
        committed = {"result": "committed"}  # what is new to it, so that later it waits for news alone
        wait_until(lambda: deliver.metric("signpost_delivery_transactions_total", **committed) > 0, what="it commits")
        pipeline.publish_some(1)
        receiver.wait_for(1)
        pipeline.publish_some(1, "globex", start=1)
        wait_until(
            lambda: deliver.metric("signpost_delivery_jobs_waiting", delay_topic="0s") == 2, what="both are at hand"
        )

        speaks.clear()
        no_news = "the broker does not say what is new in subscriptions"
        wait_until(lambda: no_news in deliver.log_text(), what="delivery says what it waits for")
        receiver.drop_connections()  # there is a place for the other job now
        pipeline.write(Delete("sub-1"))
        pipeline.subscribe(f"{receiver.url}made", customer="globex", start=2)
        pipeline.publish_some(1, "globex", start=2)
        wait_until(lambda: deliver.metric("signpost_delivery_in_flight_requests") == 0, what="the request is answered")
        wait_until(lambda: router.get("/readyz")[0] == SERVICE_UNAVAILABLE, what="the router routes nothing")
        assert len(receiver.requests) == 1
        speaks.set()

        outcomes = pipeline.wait_for_ends(3, 120)
    assert {request.path for request in receiver.requests} == {"/slow", "/made"}
    ends = {(one["subscription_id"], one["event_id"]): (one["state"], one["reason"]) for one in outcomes}
    assert ends["sub-1", "evt_1"] == ("cancelled", "deleted")
    assert ends["sub-2", "evt_2"] == ("delivered", "")
    assert {job.subscription_id for job in pipeline.jobs() if job.event_id == "evt_2"} == {"sub-2"}

"""Endpoints that are gone or fail for long are disabled, and the next owner of their jobs knows it."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, in_turn
from producers.subscriptions.changes import Delete, Pause, Resume
from schemas.records.health import Operation, decode_operation
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.tools import Commands
from tests.support.waiting import wait_until

GONE, FAILED = CannedResponse(410), CannedResponse(500)
# Retries after 0.1, 0.5, 3 and 12 s.
SPEEDUP = 600
# Reported with the first failure, disabled by the retry after 3 s.
SOON = {"delay_speedup": SPEEDUP, "report_failing_after": "0s", "disable_failing_after": "2s"}


class Roles(NamedTuple):
    router: Role
    deliver: Role


@pytest.fixture(scope="module")
def roles(module_pipeline: Pipeline) -> Roles:
    """The roles of all tests of this file."""
    return Roles(module_pipeline.router(), module_pipeline.deliver(**SOON))


@pytest.fixture
def pipeline(shared: Pipeline, roles: Roles) -> Pipeline:
    """The running pipeline, with a customer of this test alone."""
    return shared


@pytest.fixture
def signpost(module_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The commands, with the pipeline's settings."""
    return Commands(module_pipeline.env(), monkeypatch)


def operations(pipeline: Pipeline, subscription: str) -> list[Operation]:
    """Return what was reported of the endpoint of a subscription, by time: all but audit records."""
    found = [decode_operation(message.value()) for message in pipeline.read(pipeline.names.operations)]
    reported = [one for one in found if one.subscription_id == subscription and one.actor is None]
    return sorted(reported, key=lambda one: one.at_ms)


def wait_for_kinds(pipeline: Pipeline, subscription: str, *kinds: str) -> list[Operation]:
    """Wait until operations of these kinds were reported, in this order, and return them."""

    def reported() -> list[Operation]:
        found = operations(pipeline, subscription)
        assert [one.kind for one in found] == list(kinds)
        return found

    return wait_until(reported, what=f"{', '.join(kinds)} were reported")


def states(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Return event, state and reason of each outcome, sorted by event and time."""
    outcomes = sorted(pipeline.outcomes(), key=lambda outcome: (outcome["event_id"], outcome["at_ms"]))
    return [(outcome["event_id"], f"{outcome['state']} {outcome['reason']}".strip()) for outcome in outcomes]


def test_endpoint_that_is_gone_gets_nothing_until_a_resume(
    pipeline: Pipeline, roles: Roles, receiver: Receiver, signpost: Commands
) -> None:
    """A 410 disables: no jobs are created, `list` and `show` say so, and `resume` enables delivery again."""
    receiver.behave = always(GONE)
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    (disabled,) = wait_for_kinds(pipeline, id_, "endpoint_disabled")
    assert (disabled.reason, disabled.status, disabled.customer_id) == ("gone", 410, pipeline.customer)
    assert f"{id_} " in signpost("subscriptions", "list").out
    assert "disabled (gone)" in signpost("subscriptions", "show", id_).out

    withheld = roles.router.metric("signpost_router_withheld_total")
    pipeline.publish_some(3, start=1)
    wait_until(
        lambda: roles.router.metric("signpost_router_withheld_total") - withheld >= 3 or None, what="they are withheld"
    )
    assert len(pipeline.jobs()) == 1

    receiver.behave = always(CannedResponse())
    resumed = signpost("subscriptions", "resume", id_)
    assert "1 resumed" in resumed.out
    pipeline.publish_some(1, start=9)
    pipeline.wait_for_ends(2)
    assert states(pipeline) == [("evt_0", "dead gone"), ("evt_9", "delivered")]
    assert "disabled" not in signpost("subscriptions", "show", id_).out


def test_health_record_of_a_deleted_subscription_is_removed(pipeline: Pipeline, receiver: Receiver) -> None:
    """Deleting a disabled subscription also removes its health record, although none of its jobs is left."""
    receiver.behave = always(GONE)
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    wait_for_kinds(pipeline, id_, "endpoint_disabled")
    pipeline.write(Delete(id_))

    def is_gone() -> bool:
        return [m.value() for m in pipeline.read(pipeline.names.health) if m.key() == id_.encode()][-1:] == [None]

    wait_until(is_gone, what="its health record is removed")


def test_endpoint_that_only_fails_is_reported_then_disabled(pipeline: Pipeline, receiver: Receiver) -> None:
    """An endpoint that only fails for `disable_failing_after` is disabled, and its waiting jobs are cancelled."""
    receiver.behave = always(FAILED)
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    failing, disabled = wait_for_kinds(pipeline, id_, "endpoint_failing", "endpoint_disabled")
    assert (failing.status, disabled.reason) == (500, "failing")
    assert disabled.since_ms is not None
    assert disabled.at_ms - disabled.since_ms >= 2_000
    pipeline.wait_for_ends(1)
    assert states(pipeline)[-1] == ("evt_0", "cancelled disabled")


def test_endpoint_that_recovers_is_reported(pipeline: Pipeline, receiver: Receiver) -> None:
    """A success after a reported failure is reported as a recovery."""
    receiver.behave = in_turn([FAILED, CannedResponse()])
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    failing, recovered = wait_for_kinds(pipeline, id_, "endpoint_failing", "endpoint_recovered")
    assert recovered.since_ms == failing.since_ms


def test_late_410_disables_nothing(pipeline: Pipeline, receiver: Receiver) -> None:
    """A 410 to an attempt from before a resume ends only that job. It disables and reports nothing."""
    receiver.behave = in_turn([CannedResponse(410, delay=timedelta(seconds=3))])
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(1)
    pipeline.write(Pause(id_))
    pipeline.write(Resume(id_))
    pipeline.wait_for_ends(1)
    receiver.behave = always(CannedResponse())
    pipeline.publish_some(1, start=1)
    pipeline.wait_for_ends(2)
    assert states(pipeline) == [("evt_0", "dead gone"), ("evt_1", "delivered")]
    assert operations(pipeline, id_) == []


def test_late_410_of_the_previous_url_disables_nothing(
    pipeline: Pipeline, receiver: Receiver, signpost: Commands
) -> None:
    """A 410 of the previous URL ends only that job. Events published after the change go to the new URL."""
    gone = CannedResponse(410, delay=timedelta(seconds=3))
    receiver.behave = lambda got: CannedResponse() if got.path.endswith("/new") else gone
    (id_,) = pipeline.subscribe(f"{receiver.url}/old")
    pipeline.publish_some(1)
    receiver.wait_for(1)
    assert "changed (url)" in signpost("subscriptions", "update", id_, "--url", f"{receiver.url}/new").out
    pipeline.wait_for_ends(1)
    pipeline.publish_some(1, start=1)
    pipeline.wait_for_ends(2)
    assert states(pipeline) == [("evt_0", "dead gone"), ("evt_1", "delivered")]


def test_jobs_that_waited_for_a_disabled_subscription_are_never_sent(pipeline: Pipeline, receiver: Receiver) -> None:
    """A retry that waited when its subscription was disabled is cancelled, even if it is due after the resume."""
    receiver.behave = lambda received: FAILED if received.event_id == "evt_0" else GONE
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(3)  # the next attempt is due in 3 s
    pipeline.publish_some(1, start=1)
    *_, disabled = wait_for_kinds(pipeline, id_, "endpoint_failing", "endpoint_disabled")
    assert disabled.reason == "gone"
    receiver.behave = always(CannedResponse())
    pipeline.write(Resume(id_, disabled_activation=1 << 60))
    pipeline.wait_for_ends(2)
    assert states(pipeline)[-2:] == [("evt_0", "cancelled reactivated"), ("evt_1", "dead gone")]
    assert all(received.event_id != "evt_0" for received in receiver.requests[4:])


def test_next_owner_knows_a_disabled_endpoint(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver
) -> None:
    """A delivery process that takes partitions over after a kill sends nothing to a disabled endpoint."""
    pipeline = Pipeline(broker.bootstrap_servers, prefix, start_role)
    receiver.behave = lambda received: FAILED if received.event_id == "evt_0" else GONE
    pipeline.router()
    deliver = pipeline.deliver(delay_speedup=SPEEDUP)
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(3)
    pipeline.publish_some(1, start=1)
    wait_for_kinds(pipeline, id_, "endpoint_disabled")
    deliver.kill()
    sent = len(receiver.requests)
    pipeline.deliver(delay_speedup=SPEEDUP)
    pipeline.wait_for_ends(2)
    assert states(pipeline)[3] == ("evt_0", "cancelled disabled")
    assert len(receiver.requests) == sent

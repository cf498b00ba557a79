"""The log lines of real processes: one per outcome, sampled successes, nothing that a customer sent."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path
from schemas.records.topics import FIRST
from tests.broker.test_router_unreadable import CREATED, encoded
from tests.support.pipeline import CUSTOMER, SECRET, Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.topics import produce
from tests.support.waiting import wait_until

EVENTS: Final = 60
OMITTED: Final = "signpost_log_lines_omitted_total"
FIELDS: Final = {
    *("timestamp", "level", "event", "state", "job", "subscription", "customer", "host", "sender"),
    *("event_type", "event_id", "attempt", "status", "duration_ms"),
}


def lines_of(role: Role) -> list[dict[str, Any]]:
    """Return the log of a role, line by line."""
    complete = role.log_text().rpartition("\n")[0]  # the process may be writing the last line
    return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]


def first_attempts(role: Role, state: str) -> list[dict[str, Any]]:
    """Return the lines of first attempts that ended with a state."""
    attempts = [line for line in lines_of(role) if line["event"] == "delivery.attempted" and line["attempt"] == 1]
    return [line for line in attempts if line["state"] == state]


def dead_lettered(role: Role) -> list[dict[str, Any]]:
    """Return the lines of unreadable records; AssertionError if there are none."""
    found = [line for line in lines_of(role) if line["event"] == "record.dead_lettered"]
    assert found
    return found


@pytest.fixture
def sampled(broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver) -> Pipeline:
    """A pipeline whose delivery writes one line a second of deliveries; an endpoint works, another one fails."""
    failing = always(CannedResponse(500, body=b"canary-response"))
    receiver.behave = by_path({"/failing": failing}, always(CannedResponse()))
    pipeline = Pipeline(broker.bootstrap_servers, prefix, start_role, log_successes_per_second=1)
    pipeline.subscribe(*(f"{receiver.url.rstrip('/')}{path}?token=canary-query" for path in ("/well", "/failing")))
    return pipeline


def test_successes_are_sampled_and_failures_are_not(sampled: Pipeline) -> None:
    """Each failed attempt has its line. The lines of successes and those that were left out are all successes."""
    sampled.router()
    deliver = sampled.deliver()
    sampled.publish_some(EVENTS)

    wait_until(
        lambda: deliver.metric(OMITTED) + len(first_attempts(deliver, "delivered")) == EVENTS,
        60,
        "every success has a line or is counted",
    )
    wait_until(lambda: len(first_attempts(deliver, "retry")) == EVENTS, 60, "every failure has a line")
    assert deliver.metric(OMITTED) > 0
    reported = sum(line.get("omitted", 0) for line in lines_of(deliver))
    assert 0 < reported <= deliver.metric(OMITTED)


def test_log_of_an_unreadable_record_does_not_quote_it(sampled: Pipeline) -> None:
    """Router and delivery log reason and place of an unreadable record. Only its dead letter quotes it."""
    event = encoded(CREATED.prefix, event_type="canary-type")
    produce(sampled.bootstrap_servers, sampled.events_topic, event, partition=0)
    produce(sampled.bootstrap_servers, sampled.names.jobs(FIRST), b"canary-job", partition=1)
    router, deliver = sampled.router(), sampled.deliver()
    for role, topic, partition in ((router, sampled.events_topic, 0), (deliver, sampled.names.jobs(FIRST), 1)):
        is_logged = partial(dead_lettered, role)
        (line,) = wait_until(is_logged, 60, "the record is logged")
        assert (line["topic"], line["partition"], line["offset"]) == (topic, partition, 0)
        assert line["reason"] in {"unknown_event_type", "unknown_format"}
        assert "canary" not in role.log_text()
    wait_until(lambda: len(sampled.dead_letters()) == 2, what="both are dead")
    assert any("canary-type" in letter.detail for letter in sampled.dead_letters())


@pytest.mark.parametrize("role", ["router", "deliver"])
def test_role_that_ends_with_an_error_logs_it(broker: Broker, prefix: str, start_role: RoleStarter, role: str) -> None:
    """The reason is a line for programs, in addition to the sentence for people."""
    env = {"SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "SIGNPOST_PREFIX": prefix}
    process = start_role([role], env | {"SIGNPOST_SEALING_KEY": "A" * 43 + "=", "SIGNPOST_LOG_FORMAT": "json"})
    assert process.wait() == 1  # its topics are missing
    (failed,) = [line for line in lines_of(process) if line["event"] == "role.failed"]
    assert failed["level"] == "error"
    assert "signpost topics apply" in failed["error"]


def test_log_of_a_process_shows_its_life_and_no_content(sampled: Pipeline) -> None:
    """Start, partitions and end are lines, and so is each outcome. Bodies, responses, secrets and URLs are in none."""
    router, deliver = sampled.router(), sampled.deliver()
    sampled.publish_some(3)
    wait_until(lambda: len(first_attempts(deliver, "retry")) == 3, 60, "the failed attempts are logged")
    assert (router.terminate(), deliver.terminate()) == (0, 0)
    for role, noun in ((router, "router"), (deliver, "delivery")):
        events = [line["event"] for line in lines_of(role)]
        started, assigned, drained = (
            events.index(event) for event in (f"{noun}.started", "partitions.assigned", f"{noun}.drained")
        )
        assert started < assigned < drained
    failed = first_attempts(deliver, "retry")[0]
    assert set(failed) - {"omitted"} == FIELDS | {"reason", "next_due"}
    assert (failed["customer"], failed["status"], failed["attempt"]) == (CUSTOMER, 500, 1)
    for text in (router.log_text(), deliver.log_text()):
        for canary in ("canary", SECRET, "alt_1", "recommended_action", "/failing"):
            assert canary not in text

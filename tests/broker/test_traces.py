"""Traces, followed through real processes: from the header of an event to the request, the outcome and the ledger."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Received, always, fail_first
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply, Pause
from schemas.avro.json_text import JsonText
from schemas.events.event import Event
from schemas.records.trace_context import LAST_ATTEMPT, TRACEPARENT, TRACESTATE
from schemas.senders.event_codec import encode_event
from schemas.senders.sender import load_senders
from schemas.subscriptions.rules import Draft, Generate
from tests.support.collector import otlp_endpoint
from tests.support.otlp import CollectedSpan, OtlpReceiver
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.tools import Commands
from tests.support.topics import Headers, produce
from tests.support.waiting import wait_until
from tests.unit.schemas.test_trace_context import HOSTILE, LINE

SENDERS = load_senders()
# The first two retries of `standard` come after 5 and 300 ms.
FAST = 1_000
EVENT_SPAN = "00f067aa0ba902b7"
OUR_HEADERS = {TRACEPARENT, TRACESTATE, LAST_ATTEMPT}


class Installation(NamedTuple):
    """Running roles with one sender that sends `traceparent`, and one that does not; each test has its customer."""

    pipeline: Pipeline
    collector: OtlpReceiver
    roles: Mapping[str, Role]
    customer: str

    def subscribe(self, url: str, sender: str = "standard") -> str:
        """Subscribe to all events of a sender; return the id."""
        id_ = f"{self.customer}-{sender}"
        draft = Draft(id=id_, sender=sender, customer_id=self.customer, url=url, event_types=("*",), secret=Generate())
        self.pipeline.write(Apply(draft))
        return id_

    def publish(self, *headers: Mapping[str, str], sender: str = "standard") -> list[str]:
        """Publish an event for each set of headers; return their ids."""
        topic = self.pipeline.names.events(sender)
        with EventPublisher(
            self.pipeline.settings.kafka_properties(), sender=SENDERS[sender], topic=topic
        ) as publisher:
            return [publisher.publish(self._event(sender), headers=each).event_id for each in headers]

    def _event(self, sender: str) -> dict[str, Any]:
        if sender == "standard":
            return {"event_type": "invoice.paid", "customer_id": self.customer, "data": {"amount": 1}}
        data = {
            "alert_token": "alt_1",
            "confidence": 85,
            "false_positive_probability": 82,
            "recommended_action": "Approve",
        }
        return {"event_type": "alert.ai_research_completed", "customer_id": self.customer, "data": data}


def start(
    broker: Broker, prefix: str, start_role: RoleStarter, folder: Path, traces: str
) -> tuple[Pipeline, dict[str, Role]]:
    """Start a router, a delivery process and a ledger for the senders `standard` and `zenoo`."""
    sources = [{"topic": f"{prefix}{name}.events", "sender": name} for name in ("standard", "zenoo")]
    settings = {"sources": sources, "delay_speedup": FAST, "traces": traces, "traces_ratio": 0}
    pipeline = Pipeline(broker.bootstrap_servers, prefix, start_role, **settings)
    roles = {"router": pipeline.router(), "deliver": pipeline.deliver()}
    roles["ledger"] = pipeline.ledger(f"sqlite:///{folder / 'ledger.db'}")
    return pipeline, roles


@pytest.fixture(scope="module", params=["direct", "collector"])
def traced(
    request: pytest.FixtureRequest,
    broker: Broker,
    module_prefix: str,
    module_start_role: RoleStarter,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """Roles with traces, exported directly or through an OpenTelemetry Collector. New traces are never sampled."""
    folder = tmp_path_factory.mktemp("traces")
    with (
        OtlpReceiver() as receiver,
        otlp_endpoint(request.param, receiver, folder) as endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        prefix = f"{module_prefix}{request.param}."
        pipeline, roles = start(broker, prefix, module_start_role, folder, "otlp")
        yield Installation(pipeline, receiver, roles, "")
        for role in roles.values():
            role.kill()


@pytest.fixture
def start_here(
    broker: Broker, prefix: str, start_role: RoleStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, OtlpReceiver], Installation]:
    """Return a function that starts roles of this test alone, with a setting of `traces` and a collector."""

    def start_here(traces: str, collector: OtlpReceiver) -> Installation:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        pipeline, roles = start(broker, prefix, start_role, tmp_path, traces)
        return Installation(pipeline, collector, roles, "acme")

    return start_here


@pytest.fixture
def here(traced: Installation) -> Installation:
    """The installation with a customer of this test alone."""
    customer = f"customer-{uuid4().hex[:8]}"
    return traced._replace(pipeline=traced.pipeline.of_customer(customer), customer=customer)


def new_trace() -> str:
    return secrets.token_hex(16)


def header(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {TRACEPARENT: f"00-{trace_id}-{EVENT_SPAN}-{flags}"}


def event_of(customer: str) -> Event:
    """Return an event of the sender `standard` with an id of its own."""
    return Event(
        f"evt_{secrets.token_hex(8)}", "invoice.paid", 1_700_000_000_000_000, customer, JsonText('{"amount":1}')
    )


def named(spans: list[CollectedSpan], name: str) -> list[CollectedSpan]:
    return [span for span in spans if span.name.split()[0] == name]


def sent_ids(received: list[Received]) -> list[str | None]:
    return [request.header(TRACEPARENT) for request in received]


def test_trace_is_followed_from_the_event_through_two_retries(
    here: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trace has the event, the router, three linked attempts with their requests, and the ledger's three rows."""
    receiver.behave = fail_first(2, CannedResponse(503), CannedResponse(200))
    here.subscribe(receiver.url)
    trace = new_trace()
    (event_id,) = here.publish({**header(trace), TRACESTATE: "vendor=1"})
    requests = receiver.wait_for(3)
    spans = here.collector.wait_for(7, trace)

    (routed,) = named(spans, "route")
    assert (routed.service, routed.kind, routed.parent_id) == ("signpost-router", "CONSUMER", EVENT_SPAN)
    attempts = named(spans, "POST")
    assert [(one.service, one.kind, one.parent_id) for one in attempts] == [
        ("signpost-deliver", "CLIENT", routed.span_id)
    ] * 3
    assert [one.attributes["signpost.attempt"] for one in attempts] == [1, 2, 3]
    first, second, _ = attempts
    assert [one.links for one in attempts] == [(), ((trace, first.span_id),), ((trace, second.span_id),)]
    assert [one.attributes["http.response.status_code"] for one in attempts] == [503, 503, 200]
    assert [one.is_error for one in attempts] == [True, True, False]
    assert sent_ids(requests) == [f"00-{trace}-{one.span_id}-01" for one in attempts]
    assert [request.header(TRACESTATE) for request in requests] == [None] * 3
    recorded = named(spans, "record")
    assert {(one.service, one.parent_id) for one in recorded} == {("signpost-ledger", one.span_id) for one in attempts}
    assert [span.state for span in spans] == ["vendor=1"] * 7
    assert all(span.start_ns <= span.end_ns for span in spans)
    assert [one for one in here.collector.spans if one.trace_id == trace and one.name.startswith("end job")] == []

    signpost = Commands(here.pipeline.env(), monkeypatch)
    assert f"trace {trace}" in signpost("explain", event_id).out.splitlines()
    assert json.loads(signpost("explain", event_id, "--json").out)[0]["trace_id"] == trace
    assert (
        wait_until(lambda: logged_traces(here.roles["deliver"], event_id), what="three lines in the log") == [trace] * 3
    )
    assert all(spans_of(role, "exported") > 0 and spans_of(role, "dropped") == 0 for role in here.roles.values())


def logged_traces(role: Role, event_id: str) -> list[str]:
    """Return the traces in the log lines of an event's three attempts; none before all are there."""
    lines = [json.loads(line) for line in role.log_text().splitlines() if f'"{event_id}"' in line]
    return [line["trace_id"] for line in lines] if len(lines) == 3 else []


def test_jobs_of_one_event_share_its_span(here: Installation, receiver: Receiver) -> None:
    """Every subscription of the customer gets attempts below the one span of the router."""
    here.subscribe(f"{receiver.url}a")
    here.pipeline.write(
        Apply(
            Draft(
                id=f"{here.customer}-second",
                sender="standard",
                customer_id=here.customer,
                url=f"{receiver.url}b",
                event_types=("*",),
                secret=Generate(),
            )
        )
    )
    trace = new_trace()
    here.publish(header(trace))
    spans = here.collector.wait_for(5, trace)
    (routed,) = named(spans, "route")
    assert routed.attributes["signpost.jobs"] == 2
    assert {one.parent_id for one in named(spans, "POST")} == {routed.span_id}
    assert len(set(sent_ids(receiver.wait_for(2)))) == 2


def test_dead_job_stays_in_its_trace_when_it_is_retried(
    here: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry of a dead letter by hand continues the trace, linked to the last attempt before it."""
    receiver.behave = always(CannedResponse(500))
    id_ = f"{here.customer}-dead"
    draft = Draft(
        id=id_,
        sender="standard",
        customer_id=here.customer,
        url=receiver.url,
        event_types=("*",),
        secret=Generate(),
        schedule=(),
    )
    here.pipeline.write(Apply(draft))
    trace = new_trace()
    here.publish(header(trace))
    (failed,) = named(here.collector.wait_for(3, trace), "POST")
    (letter,) = wait_until(here.pipeline.dead_letters, what="the job is dead")
    assert letter.reason == "exhausted"
    (record,) = [one for one in here.pipeline.read(here.pipeline.names.dead) if one.key() == id_.encode()]
    assert dict(record.headers() or []) == {TRACEPARENT: f"00-{trace}-{failed.span_id}-01".encode()}
    receiver.behave = always(CannedResponse(200))
    signpost = Commands(here.pipeline.env(), monkeypatch)
    assert signpost("dead-letters", "retry", f"{record.partition()}:{record.offset()}").code == 0
    _, delivered = named(here.collector.wait_for(5, trace), "POST")
    assert (delivered.links, delivered.parent_id) == (((trace, failed.span_id),), failed.parent_id)
    assert delivered.attributes["signpost.run"] == 1


def test_cancelled_job_ends_its_trace(here: Installation, receiver: Receiver) -> None:
    """The trace of a job that is never sent ends with the reason."""
    receiver.behave = always(CannedResponse(500))
    id_ = here.subscribe(receiver.url)
    trace = new_trace()
    here.publish(header(trace))
    receiver.wait_for(1)
    here.pipeline.write(Pause(id_))
    ended = wait_until(lambda: named(here.collector.of(trace), "end"), what="the job is cancelled")
    assert [one.attributes["signpost.reason"] for one in ended] == ["paused"]


@pytest.mark.promise(5)
def test_documented_requests_have_no_further_header(here: Installation, receiver: Receiver) -> None:
    """A sender whose contract names its headers sends exactly these, and its deliveries are traced all the same."""
    here.subscribe(receiver.url, "zenoo")
    trace = new_trace()
    here.publish(header(trace), sender="zenoo")
    (request,) = receiver.wait_for(1)
    names = [name for name, _ in request.headers]
    assert names == ["Host", "Content-Type", "User-Agent", "X-Zenoo-Signature", "Content-Length"]
    assert len(named(here.collector.wait_for(3, trace), "POST")) == 1


@pytest.mark.promise(5)
def test_hostile_contexts_are_ignored_and_never_forwarded(here: Installation, receiver: Receiver) -> None:
    """Malformed, huge and repeated headers of events deliver like absent ones, and reach neither endpoint nor jobs."""
    here.subscribe(receiver.url)
    sender = SENDERS["standard"]
    topic = here.pipeline.names.events("standard")
    valid = header(new_trace())[TRACEPARENT].encode()
    sets: list[Headers] = [[(TRACEPARENT, value)] for value in HOSTILE.values() if len(value) < 500_000]
    sets += [[(TRACEPARENT, valid)] * 2, [(TRACEPARENT, None)], [("Traceparent", valid)], [(LAST_ATTEMPT, b"\r\nX: y")]]
    sets += [[(TRACEPARENT, valid * 9_000)], [("x", b"y")] * 5_000, [(TRACESTATE, b"a=b\r\nX-Forged: 1")]]
    for headers in sets:
        value = encode_event(sender, event_of(here.customer))
        produce(here.pipeline.bootstrap_servers, topic, value, b"key", headers=headers)
    requests = receiver.wait_for(len(sets))
    assert {request.header(name) for request in requests for name in (*OUR_HEADERS, "X-Forged", "X")} == {None}
    kept = [message.headers() for message in here.pipeline.read(f"{here.pipeline.names.prefix}jobs.0s")]
    forged = [pair for headers in kept for pair in headers or [] if not LINE.fullmatch(b"traceparent: " + pair[1])]
    assert [pair for pair in forged if pair[0] == TRACEPARENT] == []


def test_unsampled_context_goes_on_unchanged(here: Installation, receiver: Receiver) -> None:
    """The endpoint gets the context of the event itself, and nothing is recorded."""
    here.subscribe(receiver.url)
    trace = new_trace()
    here.publish(header(trace, "00"))
    (request,) = receiver.wait_for(1)
    assert request.header(TRACEPARENT) == header(trace, "00")[TRACEPARENT]
    here.pipeline.wait_for_ends(1)
    assert here.collector.of(trace) == []


def test_without_traces_nothing_of_them_exists(
    start_here: Callable[[str, OtlpReceiver], Installation], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the setting, no header goes on, no span is made, and no process imports OpenTelemetry."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    receiver.behave = fail_first(2, CannedResponse(503), CannedResponse(200))
    with OtlpReceiver() as collector:
        here = start_here("off", collector)
        here.subscribe(receiver.url)
        here.publish({**header(new_trace()), TRACESTATE: "vendor=1"})
        requests = receiver.wait_for(3)
        here.pipeline.wait_for_ends(1)
        assert {request.header(name) for request in requests for name in OUR_HEADERS} == {None}
        names = here.pipeline.names
        topics = [*(f"{names.prefix}jobs.{delay}" for delay in ("0s", "5s", "5m")), names.outcomes]
        records = [message for topic in topics for message in here.pipeline.read(topic)]
        assert len(records) == 6
        assert [message.headers() for message in records if message.headers()] == []
        for role in here.roles.values():
            assert role.terminate() == 0
            assert imports_of(role) >= {"structlog", "confluent_kafka"}
            assert [name for name in imports_of(role) if name.startswith("opentelemetry")] == []
        assert collector.requests == 0


def imports_of(role: Role) -> set[str]:
    """Return the modules that a role with PYTHONPROFILEIMPORTTIME has imported."""
    return set(re.findall(r"^import time:.*\| +(\S+)$", role.log_text(), re.MULTILINE))


def test_traces_import_opentelemetry(
    start_here: Callable[[str, OtlpReceiver], Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting, the list of imports of the test above shows OpenTelemetry."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with OtlpReceiver() as collector:
        for role in start_here("otlp", collector).roles.values():
            assert role.terminate() == 0
            assert "opentelemetry.sdk.trace" in imports_of(role)


def test_collector_that_is_away_slows_nothing_down(
    start_here: Callable[[str, OtlpReceiver], Installation], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the collector accepts requests and answers none, all jobs are delivered, and lost spans are counted."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    with OtlpReceiver() as collector:
        collector.hangs = True
        here = start_here("otlp", collector)
        here.subscribe(receiver.url)
        here.publish(*[header(new_trace()) for _ in range(200)])
        receiver.wait_for(200)
        here.pipeline.wait_for_ends(200)
        deliver = here.roles["deliver"]
        wait_until(lambda: spans_of(deliver, "dropped") and spans_of(deliver, "failed"), what="lost spans are counted")
        assert spans_of(deliver, "exported") == 0
        assert "traces.export_failed" in deliver.log_text()
        assert [role.terminate() for role in here.roles.values()] == [0, 0, 0]


def spans_of(role: Role, result: str) -> float:
    """Return the number of spans with a result that a role has counted."""
    return role.metric("signpost_trace_spans_total", result=result)

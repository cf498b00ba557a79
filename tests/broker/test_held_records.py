"""Records that wait in the router: each gets its decision once, blocks nothing else, and is visible meanwhile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
import pytest
from structlog.testing import capture_logs

from deploy.dev.broker import Broker
from schemas.avro.references import with_definitions
from schemas.senders.header_values import header_id
from schemas.subscriptions.subscription import encode_subscription
from tests.support.installation import DATA, ZENOO, Installation, RunningRouter, event, subscription, value_of
from tests.support.small_registry import Reference, Response, SmallRegistry, running_registry
from tests.support.tools import Commands
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)
OWN: Any = ZENOO.event_types["case.created"].schema
UNKNOWN = 99


@pytest.fixture
def registry() -> Iterator[SmallRegistry]:
    with running_registry() as running:
        yield running


@pytest.fixture
def here(broker: Broker, prefix: str, registry: SmallRegistry) -> Installation:
    here = Installation(broker.bootstrap_servers, prefix, schema_registry_url=registry.url).make_topics()
    here.subscribe(subscription("one"))
    return here


def framed(schema_id: int, record: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + record


def value_by_id(schema_id: int, event_id: str, customer_id: str = "acme") -> bytes:
    """Return an event in Confluent's wire format, written with the sender's own schema."""
    return framed(schema_id, value_of(event(event_id, customer_id))[10:])


def produce(here: Installation, *values: bytes, partition: int = 0) -> None:
    for value in values:
        here.produce(here.events_topic, value, partition=partition)


def named(number: int) -> Any:
    """Return the schema of another record with the same fields, which gets an id of its own."""
    return {**OWN, "name": f"Version{number}"}


def dead(here: Installation) -> list[tuple[str, int]]:
    """Return reason and offset of all dead letters of partition 0, in order."""
    return sorted(((letter.reason, letter.offset) for letter in here.dead()), key=lambda one: one[1])


def test_every_decision_about_a_held_record_is_carried_out(here: Installation, registry: SmallRegistry) -> None:
    """Every record of a partition waits for its schema. Each becomes jobs, no job or a dead letter, in order, once."""
    good = [registry.register(f"good-{number}", named(number)) for number in range(7)]
    other = registry.register("other", {"type": "record", "name": "Other", "fields": []})
    foreign = registry.register("foreign", "{}", schema_type="JSON")
    produce(
        here,
        value_by_id(good[0], "first"),
        value_by_id(good[1], "unmatched", "nobody"),
        framed(UNKNOWN, b"hello"),
        framed(foreign, b"{}"),
        framed(other, b""),
        value_by_id(good[2], "cut")[:-5],
        value_by_id(good[3], "more") + b"!",
        value_by_id(good[4], "no customer", ""),
        value_by_id(good[5], "x" * 1_000_000),
        framed(2**32 - 1, b"garbage"),
        value_by_id(good[6], "last"),
    )
    with here.router() as router:
        here.wait_routed()
        router.wait_ready()

    assert [job.event_id for job in here.jobs()] == ["first", "last"]
    assert dead(here) == [
        ("unknown_schema", 2),
        ("unknown_schema", 3),
        ("unknown_schema", 4),
        ("truncated", 5),
        ("trailing_bytes", 6),
        ("no_customer", 7),
        ("body_too_large", 8),
        ("unknown_schema", 9),
    ]
    details = {letter.offset: letter.detail for letter in here.dead()}
    assert details[2] == f"the schema registry has no schema {UNKNOWN}"
    assert "JSON Schema" in details[3]
    asked = [*good, other, foreign, UNKNOWN]
    assert registry.requests == Counter({f"/schemas/ids/{schema_id}": 1 for schema_id in asked})


def test_unknown_schema_stops_nothing_and_is_asked_for_once(here: Installation, registry: SmallRegistry) -> None:
    """Records with an id that no registry has are dead at once, with one request; events behind them are routed."""
    for partition in range(3):
        produce(here, *[framed(UNKNOWN, b"%d" % number) for number in range(100)], partition=partition)
        here.produce(here.events_topic, value_of(event(f"behind_{partition}")), partition=partition)
    with here.router() as router:
        here.wait_routed()
        router.wait_ready()
        assert router.metric("signpost_unreadable_records_total", reason="unknown_schema") == 300

    assert Counter(letter.reason for letter in here.dead()) == {"unknown_schema": 300}
    assert sorted(job.event_id for job in here.jobs()) == [f"behind_{partition}" for partition in range(3)]
    assert registry.requests == {f"/schemas/ids/{UNKNOWN}": 1}


ADDRESS = {"type": "record", "name": "Address", "namespace": "common", "fields": [{"name": "city", "type": "string"}]}
PARTY = {
    "type": "record",
    "name": "Party",
    "namespace": "common",
    "fields": [{"name": "name", "type": "string"}, {"name": "address", "type": "Address"}],
}


def test_schema_with_references_is_resolved(here: Installation, registry: SmallRegistry, signpost: Commands) -> None:
    """An event whose schema refers to others, over two levels, is routed with all its fields; explain reads it."""
    registry.register("address", ADDRESS)
    registry.register("party", PARTY, [Reference("common.Address", "address")])
    schema = json.loads(json.dumps(OWN))
    schema["fields"][-1]["type"]["fields"] += [
        {"name": "buyer", "type": "common.Party"},
        {"name": "seller", "type": ["null", "common.Party"]},
    ]
    schema_id = registry.register("events", schema, [Reference("common.Party", "party")])
    party = {"name": "Zoë", "address": {"city": "Brno"}}
    stream = BytesIO()
    whole = with_definitions(schema, [PARTY, ADDRESS])
    fastavro.schemaless_writer(
        stream,
        whole,
        {
            "event_id": "evt_1",
            "event_type": "case.created",
            "created_at": 1_771_236_060_000_000,
            "customer_id": "acme",
            "data": {**DATA, "buyer": party, "seller": party},
        },
    )
    produce(here, framed(schema_id, stream.getvalue()))
    with here.router():
        here.wait_routed()

    (job,) = here.jobs()
    data = json.loads(job.body)["data"]
    assert (data["buyer"], data["seller"]) == (party, party)
    assert here.dead() == []
    assert "case.created of acme" in signpost("explain", "evt_1").out


def test_explain_finds_an_event_among_records_without_a_known_schema(
    here: Installation, registry: SmallRegistry, signpost: Commands
) -> None:
    """The id of a header finds its event, whatever the registry responds for others; without it, the error is shown."""
    produce(here, framed(UNKNOWN, b"hello"), value_of(event("order 7: paid.")), framed(UNKNOWN + 1, b"hello"))
    sent, other = header_id("order 7: paid."), header_id("order 8: paid.")
    assert "order 7: paid." in signpost("explain", sent).out
    assert "no event" in signpost("explain", other).err
    registry.stop()
    assert "order 7: paid." in signpost("explain", sent).out
    assert "the schema registry does not respond" in signpost("explain", other).err
    registry.start()


RESPONSES: dict[str, Response] = {
    "401": (401, {"error_code": 401, "message": "Unauthorized"}),
    "403": (403, b""),
    "409": (409, {"error_code": 409, "message": "busy"}),
    "500": (500, b"<html>"),
    "garbage": (200, b"<html>welcome"),
    "no schema": (200, {}),
    "page": (404, b"<html>not here"),
}


@pytest.mark.parametrize("fault", [*RESPONSES, "away", "slow"])
def test_registry_that_does_not_return_a_schema_is_waited_for(
    here: Installation, registry: SmallRegistry, fault: str
) -> None:
    """The record and its partition wait, and nothing else; log, metrics, lag and /readyz show it until it ends."""
    schema_id = registry.register("good", OWN)
    produce(here, value_by_id(schema_id, "held"), *[value_of(event(f"behind_{number}")) for number in range(3)])
    produce(here, value_of(event("other")), partition=1)
    begin_fault(registry, fault)
    with capture_logs() as lines, here.router() as router:
        wait_until(lambda: [job.event_id for job in here.jobs()] == ["other"], what="the other partition is routed")
        router.wait_not_ready(f"stopped before offset 0 of {here.events_topic}, partition 0: the schema registry")
        produce(here, value_of(event("late")))
        wait_until(lambda: shows_waiting(router, here, "schema_registry", records=5), what="the metrics show the wait")
        wait_until(lambda: router.metric("signpost_router_waiting_for_registry") == 1, what="the metric agrees")
        end_fault(registry, fault)
        here.wait_routed()
        router.wait_ready()
        wait_until(lambda: shows_waiting(router, here, "schema_registry", records=0, paused=0), what="it has ended")

    assert sorted(job.event_id for job in here.jobs()) == ["behind_0", "behind_1", "behind_2", "held", "late", "other"]
    assert next(job.event_id for job in here.jobs() if job.source_partition == 0) == "held"
    assert here.dead() == []
    expected = {"partition.paused": 1, "partition.resumed": 1, "registry.disconnected": 1, "registry.connected": 1}
    assert Counter(line["event"] for line in lines if line["event"] in expected) == expected


def begin_fault(registry: SmallRegistry, fault: str) -> None:
    if fault == "away":
        registry.stop()
    elif fault == "slow":
        registry.stand_still()
    else:
        registry.respond = lambda _path: RESPONSES[fault]


def end_fault(registry: SmallRegistry, fault: str) -> None:
    if fault == "away":
        registry.start()
    registry.respond = None
    registry.go_on()


def shows_waiting(router: RunningRouter, here: Installation, reason: str, *, records: int, paused: int = 1) -> bool:
    """Return whether the metrics show the paused partitions, and the records that wait."""
    assert router.metric("signpost_router_paused_partitions", reason=reason) == paused
    assert router.metric("signpost_consumer_lag_records", topic=here.events_topic) == records
    return True


def test_record_that_waits_for_a_schema_and_then_for_a_subscription(
    here: Installation, registry: SmallRegistry
) -> None:
    """A record may wait for several reasons, one after the other. The last one's end routes it, once."""
    schema_id = registry.register("good", OWN)
    here.write_subscription("broken", encode_subscription(subscription("another-id")), "acme")
    produce(here, value_by_id(schema_id, "held"), value_by_id(schema_id, "behind"))
    registry.respond = lambda _path: (500, b"")
    with here.router() as router:
        router.wait_not_ready("does not return schema")
        registry.respond = None
        reason = router.wait_not_ready("subscription 'broken' is unreadable")
        assert "'acme'" in reason
        wait_until(lambda: shows_waiting(router, here, "unreadable_subscription", records=2), what="metrics")
        assert router.metric("signpost_router_paused_partitions", reason="schema_registry") == 0
        here.write_subscription("broken", None, "acme")
        here.wait_routed()
        router.wait_ready()
        wait_until(lambda: shows_waiting(router, here, "unreadable_subscription", records=0, paused=0), what="none")

    assert [job.event_id for job in here.jobs()] == ["held", "behind"]


def test_held_record_is_routed_once_after_its_positions_were_recovered(
    here: Installation, registry: SmallRegistry
) -> None:
    """If the positions of all partitions are looked up again, the record that waits is read again, and routed once."""
    schema_id = registry.register("good", OWN)
    produce(here, value_by_id(schema_id, "held"), value_of(event("behind")))
    registry.respond = lambda _path: (500, b"")
    with here.router() as router:
        router.wait_not_ready("does not return schema")
        router.role.loop._source.misplaced = True
        wait_until(lambda: not router.role.loop._source.misplaced, what="the positions are recovered")
        router.wait_not_ready("does not return schema")
        registry.respond = None
        here.wait_routed()

    assert [job.event_id for job in here.jobs()] == ["held", "behind"]


def test_next_router_reads_a_record_that_waited(here: Installation, registry: SmallRegistry) -> None:
    """A router that ends while a record waits commits nothing behind it."""
    schema_id = registry.register("good", OWN)
    produce(here, value_of(event("before")), value_by_id(schema_id, "held"), value_of(event("behind")))
    registry.respond = lambda _path: (500, b"")
    with here.router() as router:
        router.wait_not_ready("does not return schema")
        wait_until(lambda: here.positions().get(0) == 1, what="the record before it is committed")
    registry.respond = None
    with here.router():
        here.wait_routed()

    assert [job.event_id for job in here.jobs()] == ["before", "held", "behind"]


def test_record_of_unknown_schema_hides_no_event_from_explain(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id in headers finds an event on a topic with records that nobody can decode."""
    for value in (b"\0\0\0\x03\xe7hello", b"\0\0\0"):
        here.produce(here.events_topic, value, b"k", partition=0)
    here.publish([event("order 7")])
    result = Commands(here.env, monkeypatch)("explain", header_id("order 7"))
    assert result.code == 0, result.err
    assert result.out.startswith("order 7 ")

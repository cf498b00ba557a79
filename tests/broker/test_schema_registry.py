"""Events with schemas in a schema registry, from publisher to router.

The registry is a small one of our own, on any machine, and Apicurio where Java is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from deploy.dev.broker import Broker
from producers.events.publisher import EventPublisher
from producers.events.schema_ids import SchemaIds
from schemas.catalog.errors import Unavailable
from schemas.records.topics import FIRST
from tests.support.apicurio import Apicurio, running_apicurio
from tests.support.installation import ZENOO, Installation, event, subscription
from tests.support.roles import RoleStarter
from tests.support.small_registry import SmallRegistry, running_registry
from tests.support.topics import end_offsets, read_topic
from tests.support.waiting import wait_until

MAX_POLL_INTERVAL_S = 15


@pytest.fixture(scope="module", params=["small", pytest.param("apicurio", marks=pytest.mark.long)])
def registry(request: pytest.FixtureRequest) -> Iterator[Apicurio | SmallRegistry]:
    running: AbstractContextManager[Apicurio | SmallRegistry]
    running = running_apicurio() if request.param == "apicurio" else running_registry()
    with running as registry:
        yield registry


@pytest.fixture
def here(broker: Broker, prefix: str, registry: Apicurio | SmallRegistry) -> Installation:
    here = Installation(broker.bootstrap_servers, prefix, schema_registry_url=registry.url).make_topics()
    here.subscribe(subscription("one"))
    return here


def publish(here: Installation, *ids: str) -> None:
    url = here.settings.schema_registry_url
    assert url is not None
    with EventPublisher(
        here.settings.kafka_properties(), sender=ZENOO, topic=here.events_topic, schema_ids=SchemaIds(url)
    ) as publisher:
        for id_ in ids:
            publisher.publish(event(id_))


def test_event_in_confluent_wire_format_is_routed(here: Installation) -> None:
    """Values name the schema registered for the topic, and give the same bodies as without a registry."""
    publish(here, "evt_1")
    here.publish([event("evt_2")])  # in single-object encoding on the same topic
    with here.router():
        here.wait_routed()

    values = [message.value() or b"" for message in read_topic(here.bootstrap_servers, here.events_topic)]
    assert sorted(value[:1] for value in values) == [b"\x00", b"\xc3"]
    subjects = httpx.get(f"{here.settings.schema_registry_url}/subjects").json()
    assert f"{here.events_topic}-zenoo.CaseCreated" in subjects
    assert {job.event_id: job.body for job in here.jobs()} == {
        id_: ZENOO.render(event(id_)) for id_ in ("evt_1", "evt_2")
    }


@pytest.mark.long
def test_router_waits_for_a_stalled_registry(
    here: Installation, registry: Apicurio | SmallRegistry, start_role: RoleStarter
) -> None:
    """The router reports why it waits, keeps its partitions beyond the poll interval, and then routes the event."""
    publish(here, "evt_1")
    registry.stand_still()
    try:
        router = start_role(["router"], here.env)
        wait_until(lambda: "the schema registry does not respond" in router.get("/readyz")[1], what="/readyz says so")
        wait_until(lambda: router.metric("signpost_router_waiting_for_registry") == 1, what="the metric agrees")
        assert router.get("/healthz")[0] == httpx.codes.OK
        since_s = time.monotonic()
        wait_until(lambda: time.monotonic() - since_s > MAX_POLL_INTERVAL_S + 2, what="the poll interval has passed")
        assert here.jobs() == []
    finally:
        registry.go_on()
    here.wait_routed()
    router.wait_ready()

    assert [job.event_id for job in here.jobs()] == ["evt_1"]
    assert here.dead() == []
    wait_until(lambda: router.metric("signpost_router_waiting_for_registry") == 0, what="the metric agrees")
    logged = Counter(name for line in router.log_text().splitlines() for name in EVENTS if f'"{name}"' in line)
    assert logged == {"partitions.assigned": 1, "registry.disconnected": 1, "registry.connected": 1}
    assert router.terminate() == 0


EVENTS = ("partitions.assigned", "partitions.lost", "registry.disconnected", "registry.connected")


def test_schema_unknown_to_the_registry_is_unreadable(here: Installation) -> None:
    """A value with a schema id that the registry does not know is dead with its bytes. The next event is routed."""
    here.produce(here.events_topic, b"\x00\x7f\xff\xff\xff" + b"value", partition=0)
    publish(here, "evt_1")
    with here.router():
        here.wait_routed()

    assert [(letter.reason, letter.value) for letter in here.dead()] == [
        ("unknown_schema", b"\x00\x7f\xff\xff\xffvalue")
    ]
    assert [job.event_id for job in here.jobs()] == ["evt_1"]


def test_router_that_waits_for_a_registry_ends_on_sigterm(
    here: Installation, registry: Apicurio | SmallRegistry, start_role: RoleStarter
) -> None:
    """SIGTERM ends a waiting router with exit code 0, and the next router routes the event."""
    publish(here, "evt_1")
    registry.stand_still()
    try:
        router = start_role(["router"], here.env)
        wait_until(lambda: "registry" in router.get("/readyz")[1], what="the router waits for the registry")
        assert router.terminate(10) == 0
    finally:
        registry.go_on()
    with here.router():
        here.wait_routed()

    assert sum(end_offsets(here.bootstrap_servers, here.names.jobs(FIRST)).values()) == 1


def test_command_publishes_in_confluent_wire_format(
    here: Installation, start_role: RoleStarter, tmp_path: Path
) -> None:
    """`signpost events publish` registers the schema if a registry is set. An unreachable registry is an error."""
    (tmp_path / "event.json").write_text(
        '{"event_type": "alert.ai_research_completed", "customer_id": "acme", "data": {"alert_token": "alt_1", '
        '"confidence": 1, "false_positive_probability": 2, "recommended_action": "Approve"}}'
    )
    command = ["events", "publish", str(tmp_path / "event.json")]
    assert start_role(command, here.env).wait() == 0
    (message,) = read_topic(here.bootstrap_servers, here.events_topic)
    assert (message.value() or b"").startswith(b"\x00")

    failed = start_role(command, here.env | {"SIGNPOST_SCHEMA_REGISTRY_URL": "http://user:canary-pw@127.0.0.1:1"})
    assert failed.wait() == 1
    assert "the schema registry does not respond" in failed.log_text()
    assert "canary-pw" not in failed.log_text()


def test_refusal_of_the_registry_is_quoted(here: Installation, registry: Apicurio | SmallRegistry) -> None:
    """A response without an id is an error that quotes the registry, or says that the id is missing."""
    schema = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "no such type"}]}
    with pytest.raises(Unavailable, match=r"rejected the subject .*: 4"):
        SchemaIds(registry.url).id_of(here.events_topic, schema)
    with pytest.raises(Unavailable, match=r"without an id|rejected"):
        SchemaIds(f"http://127.0.0.1:{registry.port}/nothing").id_of(here.events_topic, schema)

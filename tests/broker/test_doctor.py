"""`signpost doctor` on a real installation: a healthy one, and one planted fault at a time."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from consumers.ledger.database import migrate
from deploy.config.settings_sources import Loaded
from deploy.dev import kafka
from deploy.dev.broker import Broker
from deploy.dev.responses import CannedResponse, always
from deploy.doctor.examination.context import ExaminationEnvironment, ExaminationRequest, Report
from deploy.doctor.examination.run import examine
from deploy.doctor.findings import AREAS, FindingCode, Severity
from schemas.catalog.errors import InvalidInput
from schemas.records.health import Health, encode_health
from schemas.subscriptions.subscription import encode_subscription
from tests.support.certificates import Authority
from tests.support.doctor import ID, NOW, TESTED, World, codes, installed
from tests.support.parts import need
from tests.support.postgres import postgres_server
from tests.support.tools import Commands
from tests.support.topics import read_topic

BOOTSTRAP = "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture(scope="module")
def world(broker: Broker, module_prefix: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.environ.get(BOOTSTRAP):
        pytest.skip("the broker of the settings may have risky settings of its own, which doctor would report")
    with installed(broker.bootstrap_servers, module_prefix, tmp_path_factory.mktemp("doctor")) as world:
        yield world


@pytest.fixture
def here(world: World) -> Iterator[World]:
    """The installation, healthy again after the test."""
    with world.undo:
        yield world
    world.undo = ExitStack()
    world.receiver.clear()


def test_healthy_installation_has_no_finding(here: World) -> None:
    """Doctor reports nothing on a healthy installation, and has checked everything."""
    report = here.examine(ExaminationRequest(subscription=ID))
    assert codes(report) == set()
    assert report.worst is None
    assert report.checked == list(AREAS)
    assert here.receiver.requests == []


Plant: TypeAlias = Callable[[World], Report]
FAULTS: list[Any] = []


def fault(*found: FindingCode) -> Callable[[Plant], Plant]:
    """Register a function that plants a fault and returns doctor's report; `found` are the codes of that report."""

    def register(plant: Plant) -> Plant:
        FAULTS.append(pytest.param(plant, set(found), id=plant.__name__))
        return plant

    return register


@fault("settings_invalid")
def setting_out_of_range(world: World) -> Report:
    return world.examine(partitions=0)


@fault("sender_invalid")
def folder_of_senders_missing(world: World) -> Report:
    return world.examine(senders=[world.folder / "nowhere"])


@fault("source_sender_unknown")
def source_of_an_unknown_sender(world: World) -> Report:
    return world.examine(sources=[{"topic": world.names.events("zenoo"), "sender": "zeno"}])


@fault("drain_timeout_short")
def too_short_a_time_to_drain(world: World) -> Report:
    return world.examine(drain_timeout="10s")


@fault("ca_bundle_unusable")
def no_authorities(world: World) -> Report:
    return world.examine(ca_bundle=world.folder / "nothing.pem")


@fault("delays_shortened")
def setting_of_a_demo(world: World) -> Report:
    return world.examine(delay_speedup=60)


@fault("metadata_service_allowed")
def network_of_the_cloud_allowed(world: World) -> Report:
    return world.examine(allow_cidrs=["127.0.0.0/8", "169.254.0.0/16"])


@fault("broker_unreachable")
def no_broker(world: World) -> Report:
    return world.examine(bootstrap_servers=f"127.0.0.1:{kafka.free_port()}", connect_s=0.5)


@fault("broker_unreachable")
def no_broker_configured(world: World) -> Report:
    settings = world.settings.model_copy(update={"kafka": {}})
    return examine(lambda: Loaded(settings, {}), ExaminationRequest(), ExaminationEnvironment())


@fault("brokers_too_few", "replicas_few", "topic_layout", "topic_config")
def more_replicas_than_brokers(world: World) -> Report:
    return world.examine(replication=2)


@fault("topic_missing")
def topic_deleted(world: World) -> Report:
    world.undo.callback(world.apply)
    world.admin.delete_topics([world.names.dead], operation_timeout=30)[world.names.dead].result(30)
    world.wait_planned()
    return world.examine()


@fault("topic_layout")
def other_number_of_partitions(world: World) -> Report:
    return world.examine(partitions=2)


@fault("topic_config")
def larger_events_than_the_topics_take(world: World) -> Report:
    return world.examine(max_event="2MiB")


@fault("source_missing")
def source_that_nobody_created(world: World) -> Report:
    return world.examine(sources=[*world.values["sources"], {"topic": f"{world.names.prefix}crm", "sender": "zenoo"}])


@fault("clock_differs")
def clock_ahead(world: World) -> Report:
    report = world.examine(ahead_ms=90_000)
    assert report.worst is Severity.ERROR
    assert " s ahead of that of broker " in report.findings[0].what
    return report


@fault("clock_differs")
def clock_behind(world: World) -> Report:
    report = world.examine(ahead_ms=-8_000)
    assert report.worst is Severity.WARNING
    assert " s behind that of broker " in report.findings[0].what
    return report


@fault("registry_unreachable")
def registry_stopped(world: World) -> Report:
    world.registry.stop()
    world.undo.callback(world.registry.start)
    return world.examine()


@fault("registry_refuses")
def registry_with_a_password(world: World) -> Report:
    world.registry.password = "user:password"
    world.undo.callback(setattr, world.registry, "password", None)
    return world.examine()


@fault("registry_invalid")
def url_of_another_service(world: World) -> Report:
    world.registry.respond = lambda path: (200, b"<html>Welcome</html>")
    world.undo.callback(setattr, world.registry, "respond", None)
    return world.examine()


@fault("database_unreachable")
def database_stopped(world: World) -> Report:
    return world.examine(database_url=f"postgresql://signpost:canary@127.0.0.1:{kafka.free_port()}/ledger")


@fault("database_unreachable")
def file_that_is_no_database(world: World) -> Report:
    file = world.folder / "other.db"
    file.write_text("no database " * 1_000)
    return world.examine(database_url=f"sqlite:///{file}")


@fault("database_empty")
def ledger_never_started(world: World) -> Report:
    return world.examine(database_url=f"sqlite:///{world.folder / 'new.db'}")


@fault("database_newer")
def tables_of_a_newer_release(world: World) -> Report:
    file = world.folder / "newer.db"
    migrate(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return world.examine(database_url=f"sqlite:///{file}")


@fault("sealing_key_unusable")
def no_sealing_key(world: World) -> Report:
    return world.examine(without="sealing_key")


@fault("sealing_key_unusable")
def sealing_key_that_others_can_read(world: World) -> Report:
    file = world.folder / "sealing.key"
    file.write_text(world.values["sealing_key"])
    file.chmod(0o644)
    return world.examine(without="sealing_key", sealing_key_file=file)


@fault("secret_sealed_with_another_key", "api_key_unusable")
def another_sealing_key(world: World) -> Report:
    return world.examine(sealing_key=base64.b64encode(bytes(32)).decode())


@fault("subscription_unreadable")
def garbage_on_the_topic(world: World) -> Report:
    world.write(world.names.subscriptions, "garbage", b"no record")
    return world.examine()


@fault("subscription_unusable")
def sender_not_loaded(world: World) -> Report:
    other = replace(world.subscriptions[ID], id="other", sender="crm", secrets=())
    world.write(world.names.subscriptions, "other", encode_subscription(other))
    return world.examine()


@fault("secret_broken")
def secret_of_another_subscription(world: World) -> Report:
    stolen = replace(world.subscriptions[ID], id="thief")
    world.write(world.names.subscriptions, "thief", encode_subscription(stolen))
    return world.examine()


@fault("url_refused")
def port_no_longer_allowed(world: World) -> Report:
    return world.examine(allow_ports=[8443])


@fault("subscription_paused")
def subscription_paused(world: World) -> Report:
    world.change(ID, paused=True)
    return world.examine(ExaminationRequest(subscription=ID))


@fault("endpoint_disabled")
def endpoint_gone(world: World) -> Report:
    own = world.subscriptions[ID]
    health = Health(
        subscription_id=ID,
        customer_id=own.customer_id,
        sender=own.sender,
        activation=own.activation,
        failing_since_ms=NOW(),
        reported=True,
        disabled_at_ms=NOW(),
        reason="gone",
        last_status=410,
        last_error=None,
        updated_at_ms=NOW(),
    )
    world.write(world.names.health, ID, encode_health(health))
    return world.examine(ExaminationRequest(subscription=ID))


@fault("dns_timeout")
def name_servers_silent(world: World) -> Report:
    return world.examine(ExaminationRequest(subscription=ID), dns_servers=[f"127.0.0.1:{kafka.free_port()}"])


@fault("tls_untrusted")
def authority_not_trusted(world: World) -> Report:
    folder = world.folder / "other"
    folder.mkdir(exist_ok=True)
    return world.examine(ExaminationRequest(subscription=ID), ca_bundle=str(Authority(folder).roots))


@fault("test_event_refused")
def endpoint_that_fails(world: World) -> Report:
    world.receiver.behave = always(CannedResponse(500))
    world.undo.callback(setattr, world.receiver, "behave", always(CannedResponse()))
    return world.examine(ExaminationRequest(subscription=TESTED, sends_test=True))


@pytest.mark.parametrize(("plant", "expected"), FAULTS)
def test_planted_fault_is_found(here: World, plant: Plant, expected: set[str]) -> None:
    """Doctor finds each planted fault, reports nothing else, and shows no secret."""
    report = plant(here)
    assert codes(report) == expected
    assert report.worst is not None
    assert "canary" not in str(report.findings)


def test_at_least_twenty_faults_are_planted() -> None:
    """The table of faults covers every area that a broker without ACLs has."""
    assert len(FAULTS) >= 20


def test_unreachable_broker_does_not_stop_other_checks(here: World) -> None:
    """Without a broker, settings, registry, database and sealing key are checked, and the report names the rest."""
    here.registry.stop()
    here.undo.callback(here.registry.start)
    report = here.examine(bootstrap_servers=f"127.0.0.1:{kafka.free_port()}", connect_s=0.5, delay_speedup=60)
    assert codes(report) == {"broker_unreachable", "registry_unreachable", "delays_shortened"}
    assert report.checked == ["settings", "broker", "registry", "database", "sealing_key"]


def test_test_event_is_signed_and_logged(here: World) -> None:
    """With --send-test the endpoint gets one signed test event; without a fault there is no finding."""
    log = read_topic(here.bootstrap_servers, here.names.tests)
    report = here.examine(ExaminationRequest(subscription=TESTED, sends_test=True))
    assert codes(report) == set()
    (received,) = here.receiver.requests
    assert received.json()["event_type"] == "test"
    assert received.header("webhook-signature") is not None
    assert len(read_topic(here.bootstrap_servers, here.names.tests)) == len(log) + 1


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (ExaminationRequest(subscription="acme-case"), "did you mean acme-cases"),
        (ExaminationRequest(subscription=ID, sends_test=True), "the sender zenoo documents no test event"),
    ],
)
def test_unusable_request_is_invalid_input(here: World, request_: ExaminationRequest, part: str) -> None:
    """An unknown subscription, and a test event of a sender without one, are errors of the caller: nothing is sent."""
    with pytest.raises(InvalidInput, match=part):
        here.examine(request_)
    assert here.receiver.requests == []


def test_command_reports_by_text_json_and_exit_code(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 0: nothing found, 1: errors, 2: invalid input, 3: only warnings; --json has the same findings."""
    signpost = Commands(here.env(), monkeypatch)
    healthy = signpost("doctor", ID)
    assert (healthy.code, healthy.err) == (0, "")
    assert healthy.out.startswith("nothing is wrong (checked: settings, broker, topics, ACLs")
    assert signpost("doctor", "--send-test").code == 2
    assert signpost("doctor", "--role", "routers").code == 2
    assert signpost("doctor", "--state", "nowhere").code == 2
    monkeypatch.setenv("SIGNPOST_DELAY_SPEEDUP", "60")
    warned = signpost("doctor", "--json")
    assert warned.code == 3
    shown = json.loads(warned.out)
    assert [finding["code"] for finding in shown["findings"]] == ["delays_shortened"]
    assert shown["findings"][0]["severity"] == "warning"
    assert shown["not_checked"] == {"endpoint": "no subscription is named"}
    monkeypatch.setenv("SIGNPOST_PARTITIONS", "0")
    broken = signpost("doctor")
    assert broken.code == 1
    assert broken.out.startswith("error: settings: SIGNPOST_PARTITIONS: ")
    assert "1 error (checked: settings)" in broken.out


def test_postgresql_is_checked(here: World) -> None:
    """An empty database of PostgreSQL, its tables, and a stopped server are told apart."""
    need("postgres")
    with postgres_server() as server:
        url = server.database("doctor")
        assert codes(here.examine(database_url=url)) == {"database_empty"}
        migrate(url)
        assert codes(here.examine(database_url=url)) == set()
        server.kill()
        assert codes(here.examine(database_url=url)) == {"database_unreachable"}
        server.start()

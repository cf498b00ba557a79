"""The REST APIs with a real broker, a real database, real processes and real endpoints."""

from __future__ import annotations

import hmac
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from consumers.ledger.database import migrate
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path, fail_first
from producers.events.publisher import EventPublisher
from schemas.records.health import Operation, decode_operation
from schemas.senders.sender import load_senders
from tests.support.api import ApiClient, client_of, key_of, start_api
from tests.support.pipeline import Pipeline
from tests.support.roles import Role, RoleStarter
from tests.support.subscriptions import AUTHOR
from tests.support.tools import Commands
from tests.support.topics import read_topic
from tests.support.waiting import wait_until

ONBOARDING = "/api/v1/webhooks/"
DILIGENT = "/webhooks"


@pytest.fixture
def installation(broker: Broker, prefix: str, start_role: RoleStarter, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """An installation with the topics of the two senders that have an API."""
    sources = [{"topic": f"{prefix}{sender}.events", "sender": sender} for sender in ("onboarding", "diligent")]
    return Pipeline(broker.bootstrap_servers, prefix, start_role, sources=sources)


@pytest.fixture
def signpost(installation: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The `signpost` commands, with the settings of the installation."""
    return Commands(installation.env(), monkeypatch)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of a ledger with empty tables."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    return url


def publish(installation: Pipeline, sender: str, events: list[dict[str, Any]]) -> None:
    """Publish events of a sender."""
    kafka = installation.settings.kafka_properties()
    topic = installation.names.events(sender)
    with EventPublisher(kafka, sender=load_senders()[sender], topic=topic) as publisher:
        for event in events:
            publisher.publish(event)


def screening(number: int, customer: str = "acme") -> dict[str, Any]:
    """Return an event of the onboarding API."""
    return {
        "event_id": f"evt_{number}",
        "event_type": "screening.completed",
        "created_at": "2026-01-19T10:30:00.123456+00:00",
        "customer_id": customer,
        "data": {"number": number},
    }


def alert(number: int) -> dict[str, Any]:
    """Return an event of Diligent."""
    details = {"reason": "Suspicious activity detected", "triggered_at": "2025-07-31T05:12:03.123Z"}
    return {
        "event_id": f"evt_{number}",
        "event_type": "monitoring_alert_fired",
        "created_at": "2026-01-19T10:30:00.123Z",
        "customer_id": "acme",
        "data": {"alert_id": "a", "monitoring_id": "m", "type": "FRAUD", "details": details},
    }


def created(client: ApiClient, url: str, event_type: str = "screening.completed") -> dict[str, Any]:
    """Create an onboarding webhook and return the answer."""
    answer = client.post(ONBOARDING, {"event_type": event_type, "webhook_url": url})
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.decision("O26", "O27", "O29.repeated", "O35")
@pytest.mark.promise(7)
def test_webhook_lives_from_create_to_delete(installation: Pipeline, receiver: Receiver, database: str) -> None:
    """A webhook made over REST gets events, its statistics are exact, and after the delete nothing is sent."""
    receiver.behave = by_path(
        {"/flaky": fail_first(1, CannedResponse(503), CannedResponse(200))}, always(CannedResponse(410))
    )
    key = key_of(installation, "onboarding")
    client = client_of(start_api(installation, database), key.text)
    flaky = created(client, f"{receiver.url.rstrip('/')}/flaky")
    gone = created(client, f"{receiver.url.rstrip('/')}/gone", "all")
    installation.router()
    installation.deliver(delay_speedup=600)
    installation.ledger(database)
    publish(installation, "onboarding", [screening(1)])

    def webhook(id_: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"{ONBOARDING}{id_}/").json
        return found

    def is_counted() -> bool:
        found = webhook(flaky["id"])
        assert found["stats"] == {"total_deliveries": 1, "successful_deliveries": 1, "failed_deliveries": 0}
        assert found["last_triggered_at"] is not None
        found = webhook(gone["id"])
        assert found["stats"] == {"total_deliveries": 1, "successful_deliveries": 0, "failed_deliveries": 1}
        assert found["is_active"] is False  # 410 disables
        return True

    wait_until(is_counted, what="both deliveries are counted")
    assert client.patch(f"{ONBOARDING}{gone['id']}/", {"is_active": True}).status == 200
    assert webhook(gone["id"])["is_active"] is True
    assert client.delete(f"{ONBOARDING}{flaky['id']}/").json == {"message": "Webhook deleted successfully"}
    assert client.delete(f"{ONBOARDING}{flaky['id']}/").status == 404
    sent = len(receiver.requests)
    publish(installation, "onboarding", [screening(2)])
    wait_until(lambda: len(receiver.requests) > sent, what="the other webhook gets the event")
    assert not any(request.path == "/flaky" for request in receiver.requests[sent:])


def test_processes_see_changes_of_one_another(installation: Pipeline, database: str) -> None:
    """A webhook that one process made is in the list of the other, and so is its change, after a restart as well."""
    key = key_of(installation, "diligent").text
    first, second = start_api(installation, database), start_api(installation, database)
    made = client_of(first, key, "diligent").post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"})
    assert made.status == 201
    path = f"{DILIGENT}/{made.json['id']}"
    other = client_of(second, key, "diligent")
    wait_until(lambda: other.get(path).status == 200, 1.0, "the other process knows the webhook")
    assert other.patch(path, {"events": ["search_completed"]}).json["events"] == ["search_completed"]
    wait_until(
        lambda: client_of(first, key, "diligent").get(path).json["events"] == ["search_completed"], 1.0, "the change"
    )
    first.kill()
    again = client_of(start_api(installation, database), key, "diligent")
    assert again.get(path).json == other.get(path).json
    assert second.terminate() == 0


@pytest.mark.decision("D13")
def test_limit_holds_in_two_processes_at_once(installation: Pipeline, database: str) -> None:
    """Of 24 simultaneous requests to two processes ten create a webhook; the others get 400."""
    key = key_of(installation, "diligent").text
    clients = [client_of(start_api(installation, database), key, "diligent") for _ in range(2)]
    with ThreadPoolExecutor(24) as executor:
        answers = list(
            executor.map(lambda n: clients[n % 2].post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"}), range(24))
        )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] * 10 + [400] * 14
    for client in clients:
        wait_until(lambda client=client: len(client.get(DILIGENT).json) == 10, what="both list ten")


def test_every_change_has_an_audit_record(installation: Pipeline, database: str) -> None:
    """Each change is on `operations` with the id of the key, the id of the request, and the names of changed fields."""
    key = key_of(installation, "diligent")
    client = client_of(start_api(installation, database), key.text, "diligent")
    made = client.post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"})
    path = f"{DILIGENT}/{made.json['id']}"
    changed = client.patch(path, {"events": ["search_completed"], "is_active": False})
    client.patch(path, {})
    deleted = client.delete(path)

    found = operations(installation)
    assert [(one.kind, one.actor, one.request_id) for one in found] == [
        ("api_key_created", AUTHOR.name, None),
        ("subscription_created", f"key:{key.key.id}", made.headers["x-request-id"]),
        ("subscription_changed", f"key:{key.key.id}", changed.headers["x-request-id"]),
        ("subscription_deleted", f"key:{key.key.id}", deleted.headers["x-request-id"]),
    ]
    assert {(one.customer_id, one.sender) for one in found} == {("acme", "diligent")}
    assert set(found[2].changed) == {"event_types", "paused"}


def operations(installation: Pipeline) -> list[Operation]:
    """Return all records of `operations`, in the order of time."""
    messages = read_topic(installation.bootstrap_servers, installation.names.operations)
    return sorted((decode_operation(message.value()) for message in messages), key=lambda one: one.at_ms)


def test_revoked_key_counts_within_a_second(installation: Pipeline, signpost: Commands, database: str) -> None:
    """When `keys revoke` has returned, no process accepts the key."""
    key = key_of(installation, "onboarding")
    clients = [client_of(start_api(installation, database), key.text) for _ in range(2)]
    assert [client.get(ONBOARDING).status for client in clients] == [200, 200]
    assert signpost("keys", "revoke", key.key.id).code == 0
    for client in clients:
        wait_until(lambda client=client: client.get(ONBOARDING).status == 401, 1.0, "the key is refused")


@pytest.mark.promise(6)
def test_secrets_are_shown_once_and_nowhere_else(
    installation: Pipeline, receiver: Receiver, database: str, tmp_path: Path
) -> None:
    """Keys, secrets, and the paths of URLs are in no log, topic, metric, database file or later answer."""
    canary = "canary0123456789"
    onboarding, diligent = key_of(installation, "onboarding"), key_of(installation, "diligent")
    api = start_api(installation, database)
    ledger = installation.ledger(database)
    first = client_of(api, onboarding.text)
    second = client_of(api, diligent.text, "diligent")
    made = created(first, f"{receiver.url.rstrip('/')}/{canary}/?token={canary}")
    given = second.post(DILIGENT, {"webhook_url": f"{receiver.url}{canary}", "secret": f"{canary}-secret"})
    assert given.status == 201
    answers = [
        first.get(ONBOARDING),
        first.get(f"{ONBOARDING}{made['id']}/"),
        first.post(f"{ONBOARDING}test/", {"webhook_url": f"{receiver.url}{canary}"}),
        first.post(ONBOARDING, {"webhook_url": f"ftp://{canary}", "event_type": canary, "description": 7}),
        second.get(DILIGENT),
        second.patch(f"{DILIGENT}/{given.json['id']}", {"secret": f"{canary}-other", "events": ["unknown"]}),
        second.request("POST", DILIGENT, f'{{"secret": "{canary}"'.encode()),
        client_of(api, f"{onboarding.text[:-1]}x").get(ONBOARDING),
    ]
    secrets = [made["secret_key"], onboarding.text, diligent.text, f"{canary}-secret", f"{canary}-other"]
    _, metrics = api.get("/metrics")
    assert ledger.terminate() == 0
    assert api.terminate() == 0
    for secret in secrets:
        assert not any(secret.encode() in answer.body for answer in answers)
    texts = [api.log_text(), metrics, ledger.log_text()]
    for secret in [*secrets, canary]:
        assert not any(secret in text for text in texts)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("ledger.db*"))
    names = installation.names
    topics = (names.subscriptions, names.operations, names.tests, names.api_keys, names.api_key_uses)
    records = [
        part or b""
        for topic in topics
        for message in read_topic(installation.bootstrap_servers, topic)
        for part in (message.key(), message.value())
    ]
    for secret in secrets:
        assert secret.encode() not in files
        assert not any(secret.encode() in record for record in records)


@pytest.mark.decision("D28", "D31")
@pytest.mark.promise(7)
def test_changes_count_from_the_next_attempt(installation: Pipeline, receiver: Receiver, database: str) -> None:
    """After a new URL and secret were acknowledged, retries go to the new URL, signed with the new secret only."""
    receiver.behave = by_path({"/old": always(CannedResponse(503))}, always(CannedResponse(200)))
    key = key_of(installation, "diligent").text
    client = client_of(start_api(installation, database), key, "diligent")
    base = receiver.url.rstrip("/")
    fields = {"webhook_url": f"{base}/old", "secret": "old", "events": ["monitoring_alert_fired"]}
    made = client.post(DILIGENT, fields)
    assert made.status == 201, made.body
    path = f"{DILIGENT}/{made.json['id']}"
    installation.router()
    installation.deliver(delay_speedup=2)
    publish(installation, "diligent", [alert(1)])
    receiver.wait_for(1, 30)

    assert client.patch(path, {"webhook_url": f"{base}/new", "secret": "new"}).status == 200

    before = len(receiver.requests)
    receiver.wait_for(1, 30, lambda received: received.path == "/new")
    assert {received.path for received in receiver.requests[before:]} == {"/new"}
    last = receiver.requests[-1]
    signature = hmac.new(b"new", last.body, "sha256").hexdigest()
    assert last.header("X-Signature") == f"sha256={signature}"


@pytest.mark.decision("O41", "O42")
def test_tests_are_logged_one_after_another(installation: Pipeline, receiver: Receiver, database: str) -> None:
    """Test deliveries of two processes get the ids 1, 2, 3, …, failed ones included; a refused one gets none."""
    receiver.behave = by_path({"/missing": always(CannedResponse(404))}, always(CannedResponse(200)))
    key = key_of(installation, "onboarding").text
    clients = [client_of(start_api(installation, database), key) for _ in range(2)]
    base = receiver.url.rstrip("/")
    paths = [f"{base}/well", f"{base}/missing", "http://10.0.0.1/", f"{base}/well"]
    answers = [clients[number % 2].post(f"{ONBOARDING}test/", {"webhook_url": url}) for number, url in enumerate(paths)]
    assert [answer.status for answer in answers] == [200, 502, 400, 200]
    assert [answer.json.get("log_id") for answer in answers] == [1, 2, None, 3]
    assert answers[0].body == (
        b'{"success":true,"message":"Test webhook delivered successfully","log_id":1,"http_status_code":200}'
    )
    assert answers[1].body == (
        b'{"success":false,"message":"Test webhook delivery failed: HTTP 404: Not Found","log_id":2,'
        b'"http_status_code":404}'
    )


def test_reads_need_the_ledger_and_writes_do_not(installation: Pipeline, tmp_path: Path) -> None:
    """Without its database the API creates, changes and deletes webhooks, and answers reads with 503 and a reason."""
    key = key_of(installation, "onboarding").text
    client = client_of(start_api(installation, f"sqlite:///{tmp_path / 'missing.db'}"), key)
    made = created(client, "http://127.0.0.1:9/x")
    answer = client.get(ONBOARDING)
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert client.patch(f"{ONBOARDING}{made['id']}/", {"description": "x"}).status == 200
    assert client.delete(f"{ONBOARDING}{made['id']}/").status == 200


def test_api_is_ready_when_it_has_read_its_topics(installation: Pipeline, database: str) -> None:
    """An API process ends with 0 after SIGTERM, and its status pages are those of the other roles."""
    key = key_of(installation, "onboarding").text
    api: Role = start_api(installation, database)
    client = client_of(api, key)
    assert client.get(ONBOARDING).json == {"webhooks": []}
    assert api.get("/healthz")[0] == 200
    assert api.metric("signpost_api_requests_total", flavour="onboarding", operation="list", status="2xx") == 1
    assert api.metric("signpost_build_info", role="api") == 1
    assert api.terminate() == 0

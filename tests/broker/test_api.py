"""The REST APIs with a real broker, a real database, real processes and real endpoints.

All tests share two API processes, a router, a delivery process and a ledger. Each test has a customer of its own.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumers.ledger.database import migrate
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, by_path, fail_first
from producers.events.publisher import EventPublisher
from schemas.records.health import Operation, decode_operation
from schemas.senders.sender import load_senders
from schemas.subscriptions.sealing import Sealer
from schemas.subscriptions.subscription import decode_subscription, encode_subscription
from tests.support.api import Answer, ApiClient, client_of, key_of, start_api
from tests.support.ledger import totals_of
from tests.support.pipeline import ENDS, Pipeline
from tests.support.planted import canary, found, output_of, topic_contents
from tests.support.planted_requests import KINDS, Planted, Planter, beginning
from tests.support.roles import Role, RoleStarter
from tests.support.tools import Commands
from tests.support.topics import produce, read_topic
from tests.support.waiting import wait_until

ONBOARDING = "/api/v1/webhooks/"
DILIGENT = "/webhooks"
# Retries after 0.01, 0.5, 3 and 12 s.
SPEEDUP = 600


@pytest.fixture(scope="module")
def installation(broker: Broker, module_prefix: str, module_start_role: RoleStarter) -> Pipeline:
    """An installation with the topics of the two senders that have an API. Its roles log all that they can."""
    sources = [{"topic": f"{module_prefix}{sender}.events", "sender": sender} for sender in ("onboarding", "diligent")]
    more = {"sources": sources, "log_level": "debug", "api_rate_limit": 0}
    return Pipeline(broker.bootstrap_servers, module_prefix, module_start_role, **more)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a ledger with empty tables."""
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    migrate(url)
    return url


@pytest.fixture(scope="module")
def apis(installation: Pipeline, database: str) -> tuple[Role, Role]:
    """Two API processes, which no test ends."""
    one, other = (start_api(installation, database, ready=False) for _ in range(2))
    return one.wait_ready(), other.wait_ready()


@pytest.fixture(scope="module")
def deliveries(installation: Pipeline, database: str) -> tuple[Role, ...]:
    """A router, a delivery process and a ledger, which no test ends."""
    starting = (
        installation.router(ready=False),
        installation.deliver(ready=False, delay_speedup=SPEEDUP),
        installation.ledger(database, ready=False),
    )
    return tuple(role.wait_ready() for role in starting)


@pytest.fixture
def customer() -> str:
    """A customer of this test alone."""
    return f"customer-{uuid4().hex[:8]}"


@pytest.fixture
def signpost(installation: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The `signpost` commands, with the settings of the installation."""
    return Commands(installation.env(), monkeypatch)


def publish(installation: Pipeline, sender: str, events: list[dict[str, Any]]) -> None:
    """Publish events of a sender."""
    kafka = installation.settings.kafka_properties()
    topic = installation.names.events(sender)
    with EventPublisher(kafka, sender=load_senders()[sender], topic=topic) as publisher:
        for event in events:
            publisher.publish(event)


def screening(number: int, customer: str) -> dict[str, Any]:
    """Return an event of the onboarding API."""
    return {
        "event_id": f"evt_{customer}_{number}",
        "event_type": "screening.completed",
        "created_at": "2026-01-19T10:30:00.123456+00:00",
        "customer_id": customer,
        "data": {"number": number},
    }


def alert(number: int, customer: str) -> dict[str, Any]:
    """Return an event of Diligent."""
    details = {"reason": "Suspicious activity detected", "triggered_at": "2025-07-31T05:12:03.123Z"}
    return {
        "event_id": f"evt_{customer}_{number}",
        "event_type": "monitoring_alert_fired",
        "created_at": "2026-01-19T10:30:00.123Z",
        "customer_id": customer,
        "data": {"alert_id": "a", "monitoring_id": "m", "type": "FRAUD", "details": details},
    }


def created(client: ApiClient, url: str, event_type: str = "screening.completed") -> str:
    """Create an onboarding webhook and return its id."""
    answer = client.post(ONBOARDING, {"event_type": event_type, "webhook_url": url})
    assert answer.status == 201, answer.body
    id_: str = answer.json["id"]
    return id_


def shown(client: ApiClient, id_: str) -> dict[str, Any]:
    """Return an onboarding webhook."""
    webhook: dict[str, Any] = client.get(f"{ONBOARDING}{id_}/").json
    return webhook


def stats(delivered: int, dead: int) -> dict[str, int]:
    """Return the statistics of an onboarding webhook (O26)."""
    return {"total_deliveries": delivered + dead, "successful_deliveries": delivered, "failed_deliveries": dead}


def states_of(installation: Pipeline, id_: str) -> Counter[str]:
    """Return how many outcomes of a webhook the topic has, by their state."""
    return Counter(one["state"] for one in installation.outcomes() if one["subscription_id"] == id_)


@pytest.mark.decision("O26", "O27", "O29.repeated", "O35")
@pytest.mark.promise(7)
@pytest.mark.usefixtures("deliveries")
def test_webhook_lives_from_create_to_delete(
    installation: Pipeline, apis: tuple[Role, Role], receiver: Receiver, customer: str
) -> None:
    """A webhook made over REST gets events, its statistics are exact, and after the delete nothing is sent."""
    receiver.behave = by_path(
        {"/flaky": fail_first(1, CannedResponse(503), CannedResponse(200))}, always(CannedResponse(410))
    )
    client = client_of(apis[0], key_of(installation, "onboarding", customer).text)
    flaky = created(client, f"{receiver.url}flaky")
    gone = created(client, f"{receiver.url}gone", "all")
    publish(installation, "onboarding", [screening(1, customer)])

    def is_counted() -> bool:
        webhook = shown(client, flaky)
        assert webhook["stats"] == stats(delivered=1, dead=0)
        assert webhook["last_triggered_at"] is not None
        webhook = shown(client, gone)
        assert webhook["stats"] == stats(delivered=0, dead=1)
        assert webhook["is_active"] is False  # 410 disables
        return True

    wait_until(is_counted, what="both deliveries are counted")
    assert client.patch(f"{ONBOARDING}{gone}/", {"is_active": True}).status == 200
    assert shown(client, gone)["is_active"] is True
    assert client.delete(f"{ONBOARDING}{flaky}/").json == {"message": "Webhook deleted successfully"}
    assert client.delete(f"{ONBOARDING}{flaky}/").status == 404
    sent = len(receiver.requests)
    publish(installation, "onboarding", [screening(2, customer)])
    wait_until(lambda: len(receiver.requests) > sent, what="the other webhook gets the event")
    assert not any(request.path == "/flaky" for request in receiver.requests[sent:])


@pytest.mark.decision("O26", "O27", "O28", "O29")
@pytest.mark.promise(7)
@pytest.mark.usefixtures("deliveries")
def test_statistics_are_a_count_over_the_topic(
    installation: Pipeline, apis: tuple[Role, Role], receiver: Receiver, customer: str
) -> None:
    """After retries, dead letters, a pause and a delete the statistics equal a count over `outcomes`."""
    receiver.behave = by_path(
        {"/flaky": fail_first(2, CannedResponse(503), CannedResponse(200)), "/gone": always(CannedResponse(410))},
        always(CannedResponse(503)),
    )
    client = client_of(apis[1], key_of(installation, "onboarding", customer).text)
    ids = {name: created(client, f"{receiver.url}{name}") for name in ("flaky", "gone", "paused", "deleted")}
    publish(installation, "onboarding", [screening(number, customer) for number in range(3)])
    for path in ("/paused", "/deleted"):
        receiver.wait_for(3, where=lambda received, path=path: received.path == path)  # type: ignore[misc]  # a default has no type
    assert client.patch(f"{ONBOARDING}{ids['paused']}/", {"is_active": False}).status == 200
    assert client.delete(f"{ONBOARDING}{ids['deleted']}/").status == 200
    attempts = Counter(request.path for request in receiver.requests)

    def have_ended() -> bool:
        states = {name: states_of(installation, id_) for name, id_ in ids.items()}
        assert {name: sum(counts[end] for end in ENDS) for name, counts in states.items()} == dict.fromkeys(ids, 3)
        return True

    def are_counted() -> bool:
        for name in ("flaky", "gone", "paused"):
            delivered, dead, _, _ = wanted[ids[name]]
            assert shown(client, ids[name])["stats"] == stats(delivered, dead)
        return True

    wait_until(have_ended, what="all jobs have ended")
    wanted = totals_of(installation.outcomes())
    wait_until(are_counted, what="the statistics are those of the topic")
    assert wanted[ids["flaky"]] == (3, 0, 0, 9)
    assert wanted[ids["gone"]][1] >= 1
    assert wanted[ids["paused"]][:3] == wanted[ids["deleted"]][:3] == (0, 0, 3)
    assert shown(client, ids["paused"])["last_triggered_at"] is not None
    after = Counter(request.path for request in receiver.requests)
    for path in ("/paused", "/deleted"):  # the change counted from the next attempt on
        assert after[path] == attempts[path]


def test_processes_see_changes_of_one_another(
    installation: Pipeline, apis: tuple[Role, Role], database: str, customer: str
) -> None:
    """A webhook that one process made is in the list of the other, and so is its change, also in one that starts."""
    key = key_of(installation, "diligent", customer).text
    one, other = (client_of(api, key, "diligent") for api in apis)
    made = one.post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"})
    assert made.status == 201
    path = f"{DILIGENT}/{made.json['id']}"
    wait_until(lambda: other.get(path).status == 200, 1.0, "the other process knows the webhook")
    assert other.patch(path, {"events": ["search_completed"]}).json["events"] == ["search_completed"]
    wait_until(lambda: one.get(path).json["events"] == ["search_completed"], 1.0, "the change")
    started = start_api(installation, database)
    assert client_of(started, key, "diligent").get(path).json == other.get(path).json
    assert started.terminate() == 0


@pytest.mark.decision("D13")
def test_limit_holds_in_two_processes_at_once(installation: Pipeline, apis: tuple[Role, Role], customer: str) -> None:
    """Of 24 simultaneous requests to two processes ten create a webhook; the others get 400."""
    key = key_of(installation, "diligent", customer).text
    clients = [client_of(api, key, "diligent") for api in apis]
    with ThreadPoolExecutor(24) as executor:
        answers = list(
            executor.map(lambda n: clients[n % 2].post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"}), range(24))
        )
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] * 10 + [400] * 14
    for client in clients:
        wait_until(lambda client=client: len(client.get(DILIGENT).json) == 10, what="both list ten")


def test_every_change_has_an_audit_record(installation: Pipeline, apis: tuple[Role, Role], customer: str) -> None:
    """Each change is on `operations` with the id of the key, the id of the request, and the names of changed fields."""
    key = key_of(installation, "diligent", customer)
    client = client_of(apis[0], key.text, "diligent")
    made = client.post(DILIGENT, {"webhook_url": "http://127.0.0.1:9/x"})
    path = f"{DILIGENT}/{made.json['id']}"
    changed = client.patch(path, {"events": ["search_completed"], "is_active": False})
    client.patch(path, {})
    deleted = client.delete(path)

    records = changes_of(installation, customer)
    assert [(one.kind, one.actor, one.request_id) for one in records] == [
        ("subscription_created", f"key:{key.key.id}", made.headers["x-request-id"]),
        ("subscription_changed", f"key:{key.key.id}", changed.headers["x-request-id"]),
        ("subscription_deleted", f"key:{key.key.id}", deleted.headers["x-request-id"]),
    ]
    assert {one.sender for one in records} == {"diligent"}
    assert set(records[1].changed) == {"event_types", "paused"}


def changes_of(installation: Pipeline, customer: str) -> list[Operation]:
    """Return the records on `operations` of changes of a customer's subscriptions, in the order of time."""
    messages = read_topic(installation.bootstrap_servers, installation.names.operations)
    records = [decode_operation(message.value()) for message in messages]
    of_customer = [one for one in records if one.customer_id == customer and one.kind.startswith("subscription_")]
    return sorted(of_customer, key=lambda one: one.at_ms)


def test_revoked_key_counts_within_a_second(
    installation: Pipeline, apis: tuple[Role, Role], signpost: Commands, customer: str
) -> None:
    """When `keys revoke` has returned, no process accepts the key."""
    key = key_of(installation, "onboarding", customer)
    clients = [client_of(api, key.text) for api in apis]
    assert [client.get(ONBOARDING).status for client in clients] == [200, 200]
    assert signpost("keys", "revoke", key.key.id).code == 0
    for client in clients:
        wait_until(lambda client=client: client.get(ONBOARDING).status == 401, 1.0, "the key is refused")


@pytest.mark.promise(6)
def test_secrets_are_shown_once_and_nowhere_else(
    installation: Pipeline,
    apis: tuple[Role, Role],
    deliveries: tuple[Role, ...],
    receiver: Receiver,
    *,
    database: str,
    customer: str,
) -> None:
    """Keys, secrets, and the values of all fields are in no log, page, database file, other record or later answer."""
    keys = {sender: key_of(installation, sender, customer).text for sender in ("onboarding", "diligent")}
    clients = {sender: client_of(apis[0], key, sender) for sender, key in keys.items()}
    planter = Planter(receiver.url.rstrip("/"))
    creations = list(planter.creations())
    made = {one.sender: sent(clients[one.sender], one) for one in creations}
    ids = {sender: answer.json["id"] for sender, answer in made.items()}
    path = f"{ONBOARDING}{ids['onboarding']}/"
    later = [clients["onboarding"].get(path)]
    requests = [*planter.changes(), *planter.refused(), *planter.broken()]
    answers = [sent(clients[one.sender], one, ids) for one in requests]
    refusals = [answer for answer in answers if answer.status == 400]
    later += [answer for answer in answers if answer.status != 400]
    later += [clients["onboarding"].get(path), clients["onboarding"].get(ONBOARDING), clients["diligent"].get(DILIGENT)]
    later.append(failed(installation, clients["diligent"], ids["diligent"], planter))
    assert_every_field_has_a_canary(apis[0], [*creations, *requests])

    nowhere, kept, refused = (beginning(kind) for kind in KINDS)
    once = [*keys.values(), made["onboarding"].json["secret_key"]]
    assert found(bytes_of([*made.values(), *refusals, *later]), [nowhere]) == []
    assert found(bytes_of([made["diligent"], *refusals, *later]), once) == []
    assert found(bytes_of([*made.values(), *later]), [refused]) == []
    shown_bytes = b"".join(answer.body for answer in [*made.values(), *later])
    assert [text for text in planter.texts["kept"] if text.encode() not in shown_bytes] == []
    files = [(file.name, file.read_bytes()) for file in Path(database.removeprefix("sqlite:///")).parent.iterdir()]
    outputs = [part for role in (*apis, *deliveries) for part in output_of(role)]
    assert any(b"api.failed" in content for _, content in outputs)
    assert found([*outputs, *files], [nowhere, kept, refused, *once]) == []
    topics = list(topic_contents(installation))
    assert found(topics, [nowhere, refused, *once]) == []
    elsewhere = [one for one in topics if not one[0].startswith(f"{installation.names.subscriptions} ")]
    assert found(elsewhere, [kept]) == []


def sent(client: ApiClient, request: Planted, ids: Mapping[str, str] | None = None) -> Answer:
    """Send a request with canaries and return its answer."""
    path = request.path.format(webhook_id=(ids or {}).get(request.sender))
    answer = client.request(request.method, path, request.body, request.headers)
    assert answer.status == request.status, (request, answer)
    return answer


def bytes_of(answers: list[Answer]) -> list[tuple[str, bytes]]:
    """Return headers and bodies, by the number of the answer."""
    return [(f"answer {n}", f"{one.headers}".encode() + one.body) for n, one in enumerate(answers)]


def failed(installation: Pipeline, client: ApiClient, id_: str, planter: Planter) -> Answer:
    """Let a request fail inside of the process, with a secret in its hands; return the answer.

    The record has a secret that was sealed by another key, so the given one cannot be compared with it.
    """
    topic = installation.names.subscriptions
    message = [one for one in installation.read(topic) if one.key() == id_.encode()][-1]
    record = decode_subscription(message.value() or b"")
    secret_id = record.secrets[0].id
    sealed = Sealer([bytes(32)]).seal(canary("other"), topic=topic, subscription_id=id_, secret_id=secret_id)
    value = encode_subscription(replace(record, secrets=(replace(record.secrets[0], sealed=sealed),)))
    produce(installation.bootstrap_servers, topic, value, id_.encode(), partition=message.partition() or 0)
    answer = client.patch(f"{DILIGENT}/{id_}", {"secret": planter.plant("nowhere")})
    assert (answer.status, answer.body) == (500, b'{"error":"Internal server error"}')
    return answer


def assert_every_field_has_a_canary(api: Role, requests: list[Planted]) -> None:
    """Check that each field of a request that an OpenAPI document names has a canary in one of the requests."""
    planted: dict[tuple[str, str], set[str]] = {}
    for one in requests:
        planted.setdefault((one.path, one.method.lower()), set()).update(one.fields())
    for sender in ("onboarding", "diligent"):
        document = json.loads(api.get(f"/docs/{sender}.json")[1])
        for path, item in document["paths"].items():
            for method in ("post", "patch"):
                if "requestBody" in item.get(method, {}):
                    schema = item[method]["requestBody"]["content"]["application/json"]["schema"]
                    name = schema["$ref"].rpartition("/")[2]
                    missing = document["components"]["schemas"][name]["properties"].keys() - planted[path, method]
                    assert not missing, (path, method)


@pytest.mark.decision("D28", "D31")
@pytest.mark.promise(7)
@pytest.mark.usefixtures("deliveries")
def test_changes_count_from_the_next_attempt(
    installation: Pipeline, apis: tuple[Role, Role], receiver: Receiver, customer: str
) -> None:
    """After a new URL and secret were acknowledged, retries go to the new URL, signed with the new secret only."""
    receiver.behave = by_path({"/old": always(CannedResponse(503))}, always(CannedResponse(200)))
    client = client_of(apis[0], key_of(installation, "diligent", customer).text, "diligent")
    fields = {"webhook_url": f"{receiver.url}old", "secret": "old", "events": ["monitoring_alert_fired"]}
    made = client.post(DILIGENT, fields)
    assert made.status == 201, made.body
    publish(installation, "diligent", [alert(1, customer)])
    receiver.wait_for(1)

    path = f"{DILIGENT}/{made.json['id']}"
    assert client.patch(path, {"webhook_url": f"{receiver.url}new", "secret": "new"}).status == 200

    before = len(receiver.requests)
    receiver.wait_for(1, where=lambda received: received.path == "/new")
    assert {received.path for received in receiver.requests[before:]} <= {"/new"}
    last = receiver.requests[-1]
    signature = hmac.new(b"new", last.body, "sha256").hexdigest()
    assert last.header("X-Signature") == f"sha256={signature}"


@pytest.mark.decision("O41", "O42")
def test_tests_are_logged_one_after_another(
    installation: Pipeline, apis: tuple[Role, Role], receiver: Receiver, customer: str
) -> None:
    """Test deliveries of two processes get ids one after another, failed ones included; a refused one gets none."""
    receiver.behave = by_path({"/missing": always(CannedResponse(404))}, always(CannedResponse(200)))
    key = key_of(installation, "onboarding", customer).text
    clients = [client_of(api, key) for api in apis]
    urls = [f"{receiver.url}well", f"{receiver.url}missing", "http://10.0.0.1/", f"{receiver.url}well"]
    answers = [clients[number % 2].post(f"{ONBOARDING}test/", {"webhook_url": url}) for number, url in enumerate(urls)]
    assert [answer.status for answer in answers] == [200, 502, 400, 200]
    first = len(installation.read(installation.names.tests)) - 2
    assert [answer.json.get("log_id") for answer in answers] == [first, first + 1, None, first + 2]
    assert answers[0].body == (
        b'{"success":true,"message":"Test webhook delivered successfully","log_id":%d,"http_status_code":200}' % first
    )
    assert answers[1].body == (
        b'{"success":false,"message":"Test webhook delivery failed: HTTP 404: Not Found","log_id":%d,'
        b'"http_status_code":404}' % (first + 1)
    )


def test_reads_need_the_ledger_and_writes_do_not(installation: Pipeline, tmp_path: Path, customer: str) -> None:
    """Without its database the API creates, changes and deletes webhooks, and answers reads with 503 and a reason."""
    key = key_of(installation, "onboarding", customer).text
    client = client_of(start_api(installation, f"sqlite:///{tmp_path / 'missing.db'}"), key)
    id_ = created(client, "http://127.0.0.1:9/x")
    answer = client.get(ONBOARDING)
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert client.patch(f"{ONBOARDING}{id_}/", {"description": "x"}).status == 200
    assert client.delete(f"{ONBOARDING}{id_}/").status == 200


def test_api_is_ready_when_it_has_read_its_topics(installation: Pipeline, database: str, customer: str) -> None:
    """An API process ends with 0 after SIGTERM, and its status pages are those of the other roles."""
    key = key_of(installation, "onboarding", customer).text
    api: Role = start_api(installation, database)
    client = client_of(api, key)
    assert client.get(ONBOARDING).json == {"webhooks": []}
    assert api.get("/healthz")[0] == 200
    assert api.metric("signpost_api_requests_total", flavour="onboarding", operation="list", status="2xx") == 1
    assert api.metric("signpost_build_info", role="api") == 1
    assert api.terminate() == 0

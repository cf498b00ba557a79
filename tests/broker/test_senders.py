"""All senders, end to end: events on a real Kafka arrive signed, as each contract describes them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from deploy.dev.broker import Broker
from deploy.dev.responses import CannedResponse, Received, fail_first
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply
from schemas.senders.standard_webhooks import public_text
from schemas.subscriptions.rules import Draft, Given
from schemas.subscriptions.subscription import decode_subscription
from tests.contracts.official import deliveries
from tests.contracts.senders import DATA, SENDERS, SIGNPOST, WHSEC, Example, diligent_headers, examples, reader
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import RoleStarter
from tests.support.tools import Commands
from tests.support.topics import remove_topics

# The longest schedule, 75 h 35 min 5 s, passes in 27 s, its first step in 1 ms.
FAST = 10_000
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
EXAMPLES = examples()


@pytest.fixture(scope="module")
def pipeline(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A router that reads the events of all senders, and a delivery process, for all tests of this file."""
    prefix = f"test-senders-{time.time_ns():x}."
    with RoleStarter.into(tmp_path_factory.mktemp("roles")) as starter:
        pipeline = Pipeline(broker.bootstrap_servers, prefix, starter, sources=[])
        pipeline.router()
        pipeline.deliver(delay_speedup=FAST)
        yield pipeline
    remove_topics(broker.bootstrap_servers, prefix)


def draft(
    id_: str, sender: str, url: str, secret: str | None, *, event_type: str = "*", customer: str = "acme"
) -> Apply:
    given = None if secret is None else Given(secret)
    return Apply(Draft(id=id_, sender=sender, customer_id=customer, url=url, event_types=(event_type,), secret=given))


def headers_sent(request: Received) -> dict[str, str]:
    """Return the headers that the sender defines, in order: all but Host (first) and Content-Length (last)."""
    names = [name for name, _ in request.headers]
    assert (names[0], names[-1]) == ("Host", "Content-Length")
    return dict(request.headers[1:-1])


def of_example(requests: list[Received], path: str, example: Example) -> Received:
    (found,) = [request for request in requests if request.path == path and request.body == example.body]
    return found


@pytest.mark.decision("Z15", "D1", "D2", "D3", "D4", "D5", "D18", "D19", "D20", "D35", "R1", "R4", "R5", "R10", "R20")
def test_every_example_arrives_as_the_contract_shows_it(pipeline, receiver, monkeypatch) -> None:
    """The command publishes all 23 examples unchanged. They arrive byte for byte with the headers of their contract."""
    secrets = {"zenoo": SECRET, "diligent": SECRET, "riskos": WHSEC}
    pipeline.write(
        *(draft(f"{name}-1", name, f"{receiver.url}{name}", secret) for name, secret in secrets.items()),
        draft("diligent-2", "diligent", f"{receiver.url}diligent-unsigned", None),
        draft("riskos-2", "riskos", f"{receiver.url}riskos-unsigned", None),
    )
    signpost = Commands(pipeline.env(), monkeypatch)
    for name in SENDERS:  # for a customer without subscriptions
        result = signpost("events", "simulate", "--sender", name, "--customer", "nobody", "--seconds", "0.1")
        assert f"published to {pipeline.names.events(name)}" in result.out
    for name in secrets:
        files = sorted(str(file) for file in (DATA / "examples" / name).glob("*.json"))
        result = signpost("events", "publish", "--sender", name, "--customer", "acme", *files)
        assert (result.code, result.out.count("1 event published")) == (0, len(files)), result.err
    requests = receiver.wait_for(14 + 2 * 7 + 2 * 2)
    jobs = {(job.subscription_id, job.body): job.job_id for job in pipeline.jobs()}

    for example in EXAMPLES:
        signed = of_example(requests, f"/{example.sender}", example)
        assert SENDERS[example.sender].verify(dict(signed.headers), signed.body, secrets[example.sender]) is None
        if example.sender == "zenoo":
            assert list(headers_sent(signed)) == ["Content-Type", "User-Agent", "X-Zenoo-Signature"]
            continue
        unsigned = of_example(requests, f"/{example.sender}-unsigned", example)
        if example.sender == "diligent":
            for request, id_, secret in ((signed, "diligent-1", SECRET), (unsigned, "diligent-2", None)):
                job_id = jobs[id_, example.body]
                expected = diligent_headers(example, job_id=job_id, subscription_id=id_, secret=secret)
                assert list(headers_sent(request).items()) == list(expected.items())
        else:
            assert headers_sent(unsigned) == {"Content-Type": "application/json", "User-Agent": SIGNPOST}
            assert headers_sent(signed)["webhook-id"] == example.document["event_id"]
            assert headers_sent(unsigned).items() < headers_sent(signed).items()


@pytest.mark.decision("O7", "O8", "O10", "O11", "O14", "O15", "O16", "O17")
def test_all_onboarding_types_and_all_are_delivered_and_verified(pipeline, receiver) -> None:
    """Each of 32 subscriptions gets its type, `all` gets every type, `test` gets nothing. All requests verify."""
    types = list(SENDERS["onboarding"].event_types)
    secrets = {name: SENDERS["onboarding"].generate_secret() for name in (*types, "all", "test")}
    pipeline.write(
        *(
            draft(f"o-{number}", "onboarding", f"{receiver.url}{name}", secret, event_type=name, customer="globex")
            for number, (name, secret) in enumerate(secrets.items())
        )
    )
    sender = SENDERS["onboarding"]
    kafka = pipeline.settings.kafka_properties()
    with EventPublisher(kafka, sender=sender, topic=pipeline.names.events("onboarding")) as publisher:
        for name in types:
            publisher.publish(reader("onboarding", "globex").event({"event_type": name, "data": {"of": name}}))
    requests = receiver.wait_for(2 * 32)
    pipeline.wait_for_ends(64)

    paths = Counter(request.path for request in requests)
    assert paths == {f"/{name}": 1 for name in types} | {"/all": 32}
    assert len(receiver.requests) == 64
    for request in requests:
        headers = dict(request.headers)
        path = request.path.removeprefix("/")
        assert sender.verify(headers, request.body, secrets[path], int(time.time())) is None
        name = path if path != "all" else next(one for one in types if f'"event_type":"{one}"'.encode() in request.body)
        assert (
            request.body
            == (
                f'{{"event_id":"evt_made","event_type":"{name}","created_at":"2026-02-16T10:01:00.123456+00:00",'
                f'"data":{{"of":"{name}"}}}}'
            ).encode()
        )
        assert headers["webhook-id"] == "evt_made"


@pytest.mark.decision("O10", "R10")
def test_attempts_have_the_same_id_and_their_own_time(pipeline, receiver) -> None:
    """A retry has the body and the id of the first attempt, and verifies with the secret and its own time."""
    receiver.behave = fail_first(1, CannedResponse(500), CannedResponse(200))
    pipeline.write(draft("standard-1", "standard", receiver.url, PRIVATE, event_type="invoice.*", customer="initech"))
    sender = SENDERS["standard"]
    topic = pipeline.names.events("standard")
    with EventPublisher(pipeline.settings.kafka_properties(), sender=sender, topic=topic) as publisher:
        for event_type in ("invoice.paid", "user.created", "invoice"):
            publisher.publish(reader("standard", "initech").event({"type": event_type, "data": {"n": 10**30}}))
    requests = receiver.wait_for(2)

    assert [request.body for request in requests] == 2 * [
        b'{"type":"invoice.paid","timestamp":"2026-02-16T10:01:00.123456Z","data":{"n":' + str(10**30).encode() + b"}}"
    ]
    assert {request.header("webhook-id") for request in requests} == {"evt_made"}
    for request in requests:
        assert (request.header("webhook-signature") or "").startswith("v1a,")
        assert sender.verify(dict(request.headers), request.body, public_text(PRIVATE), int(time.time())) is None


@pytest.mark.decision("D18", "D29", "D37")
def test_two_webhooks_of_one_url_are_two_deliveries(pipeline, receiver) -> None:
    """Each subscription has its own X-Webhook-Id and X-Event-Id, and keeps both in its retry."""
    receiver.behave = lambda request: CannedResponse(500 if request.number <= 2 else 200)  # both first attempts
    pipeline.write(*(draft(f"twin-{n}", "diligent", receiver.url, None, customer="hooli") for n in (1, 2)))
    sender = SENDERS["diligent"]
    topic = pipeline.names.events("diligent")
    with EventPublisher(pipeline.settings.kafka_properties(), sender=sender, topic=topic) as publisher:
        publisher.publish(reader("diligent", "hooli").event({"event_type": "cdd_state_changed", "data": "{}"}))
    requests = receiver.wait_for(4)

    pairs = Counter((request.header("X-Webhook-Id"), request.header("X-Event-Id")) for request in requests)
    assert sorted(pairs.values()) == [2, 2]
    assert {webhook for webhook, _ in pairs} == {"twin-1", "twin-2"}
    # Signpost's own records have the same names for all senders.
    records = [decode_subscription(record.value() or b"") for record in pipeline.read(pipeline.names.subscriptions)]
    twins = [record for record in records if record.sender == "diligent" and record.customer_id == "hooli"]
    assert {(record.url, record.event_types) for record in twins} == {(receiver.url, ("*",))}


def test_deliveries_for_official_libraries_are_of_all_kinds() -> None:
    """A thousand deliveries include both senders, ids sent as uuid5, and requests with two signatures."""
    found = list(deliveries(1_000, 0))
    assert len({one.headers["webhook-id"][:3] for one in found}) > 1
    assert any(" " in one.headers["webhook-signature"] for one in found)
    assert any(b'"type":' in one.body for one in found)
    assert any(b'"event_type":' in one.body for one in found)

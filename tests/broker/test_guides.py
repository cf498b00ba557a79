"""The verification code of the receivers' guides, run unchanged against deliveries of every sender."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Received
from deploy.reference.examples import examples_of
from deploy.reference.folder import documents_of
from deploy.reference.verification import LANGUAGES
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply
from schemas.events.event import Event
from schemas.senders.sender import Sender, load_sender
from schemas.senders.standard_webhooks import public_text
from schemas.subscriptions.rules import Draft, Given
from tests.contracts.senders import SENDERS, WHSEC
from tests.contracts.test_any_value import ALL, folder_of
from tests.support.attempts import Attempted, headers_of
from tests.support.guides import PARTS, Case, answers
from tests.support.parts import need
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import RoleStarter
from tests.support.topics import remove_topics

PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
OTHER_PRIVATE = "whsk_" + base64.b64encode(bytes(range(32))).decode()
OTHER_WHSEC = "whsec_" + base64.b64encode(bytes(range(64))).decode()
ODD_BODY = b'{"a":1}'
PREFIX = '\\u0041`"${x}%s#'
WORDS = "schlüssel whsec_ sha256= 株 \\"  # a secret is its bytes, whatever they look like
# Per endpoint: its sender, its secret, and another secret of the same form.
ENDPOINTS = {
    "zenoo": ("zenoo", SECRET, SECRET + "!"),
    "zenoo-words": ("zenoo", WORDS, WORDS[:-1]),
    "diligent": ("diligent", "whsec_" + SECRET, SECRET),
    "onboarding": ("onboarding", WHSEC, OTHER_WHSEC),
    "riskos": ("riskos", OTHER_WHSEC, WHSEC),
    "standard": ("standard", OTHER_WHSEC, WHSEC),
    "standard-v1a": ("standard", PRIVATE, OTHER_PRIVATE),
}


@pytest.fixture(scope="module")
def requests(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, list[Received]]]:
    """The requests to each endpoint: an example of up to three types of its sender."""
    prefix = f"test-guides-{time.time_ns():x}."
    with RoleStarter.into(tmp_path_factory.mktemp("roles")) as starter, Receiver() as receiver:
        pipeline = Pipeline(broker.bootstrap_servers, prefix, starter, sources=[])
        pipeline.write(*(_subscription(id_, f"{receiver.url}{id_}") for id_ in ENDPOINTS))
        pipeline.router()
        pipeline.deliver()
        counts = {name: _publish(pipeline, sender) for name, sender in SENDERS.items()}
        found = receiver.wait_for(sum(counts[sender] for sender, _, _ in ENDPOINTS.values()))
        yield {id_: [request for request in found if request.path == f"/{id_}"] for id_ in ENDPOINTS}
    remove_topics(broker.bootstrap_servers, prefix)


def _subscription(id_: str, url: str) -> Apply:
    sender, secret, _ = ENDPOINTS[id_]
    types = (SENDERS[sender].every_type,)
    return Apply(Draft(id=id_, sender=sender, customer_id="acme", url=url, secret=Given(secret), event_types=types))


def _publish(pipeline: Pipeline, sender: Sender) -> int:
    kafka = pipeline.settings.kafka_properties()
    with EventPublisher(kafka, sender=sender, topic=pipeline.names.events(sender.name)) as publisher:
        chosen = [example for example, *_ in examples_of(sender).values()][:3]
        for example in chosen:
            data = example.value["data"] if sender.envelope_keys else example.value
            publisher.publish(
                Event(f"evt_{example.event_type}", example.event_type, 1_771_236_060_123_456, "acme", data)
            )
    return len(chosen)


def _verifying(secret: str) -> str:
    """Return the receiver's half of a secret: the public key of a private key, else the secret itself."""
    return public_text(secret) if secret.startswith("whsk_") else secret


def _cases(requests: Mapping[str, list[Received]]) -> Iterator[Case]:
    for id_, found in requests.items():
        name, secret, other = ENDPOINTS[id_]
        for request in found:
            headers = dict(request.headers)
            now_s = int(request.arrived_at)
            case = Case(name, "as it came", _verifying(secret), headers, request.body, now_s, genuine=True)
            yield case
            yield case.but("another secret", secret=_verifying(other))
            yield from _spoiled(case)
            if "webhook-signature" in headers:
                yield from _of_standard_webhooks(case, secret, other)


def _spoiled(case: Case) -> Iterator[Case]:
    body = case.body
    headers = case.headers
    signed = SENDERS[case.sender].signature.header_names[-1] if case.sender in SENDERS else "X"
    given = headers[signed]
    yield case.but("a changed byte", body=body[:-2] + b" " + body[-1:])
    yield case.but("serialised again", body=json.dumps(json.loads(body), indent=1).encode())
    yield case.but("no body", body=b"")
    yield case.but("no signature", headers={name: value for name, value in headers.items() if name != signed})
    for what, value in (
        ("an empty signature", ""),
        ("half a signature", given[:-4]),
        ("not base64", given[:6] + "=%*é"),
        ("no prefix", given.partition("=")[2]),
        ("upper case", given.upper()),
    ):
        yield case.but(what, headers={**headers, signed: value})


def _of_standard_webhooks(case: Case, secret: str, other: str) -> Iterator[Case]:
    headers = case.headers
    sent_s = int(headers["webhook-timestamp"])
    yield case.but("an id of another", headers={**headers, "webhook-id": "evt_2"})
    for seconds, genuine in ((-301, False), (-300, True), (300, True), (301, False)):
        yield case.but(f"{seconds} s later", now_s=sent_s + seconds, genuine=genuine)
    for time_ in ("", "x", "-1", f"{sent_s}.0", f" {sent_s}", "9" * 30):
        yield case.but(f"at {time_!r}", headers={**headers, "webhook-timestamp": time_})
    job = Attempted(event_id="evt_1")
    both = headers_of(SENDERS[case.sender], case.body, other, secret, now_s=sent_s, job=job)
    yield case.but("during a rotation", headers=both, genuine=True)
    yield case.but("during a rotation, by the other", headers=both, secret=_verifying(other), genuine=True)
    unknown = {**both, "webhook-signature": f"v9,x {both['webhook-signature']}"}
    yield case.but("an unknown version first", headers=unknown, genuine=True)


def _odd(folder: Path) -> Sender:
    """Return a custom sender whose prefix has characters that are special in strings of each language."""
    toml = (folder_of(folder, ALL) / "sender.toml").read_text(encoding="utf-8")
    toml = toml.replace('secret = "utf8"', f"secret = \"utf8\"\nprefix = '{PREFIX}'")
    (folder / "sender.toml").write_text(toml, encoding="utf-8")
    return load_sender(folder)


@pytest.mark.parametrize("language", LANGUAGES)
def test_code_of_every_guide_verifies_deliveries(
    requests: Mapping[str, list[Received]], tmp_path: Path, language: str
) -> None:
    """The guide's code accepts every delivery, and none with another secret, changed, unsigned or stale."""
    need(*PARTS[language])
    version = metadata.version("kafka-signpost")
    odd = _odd(tmp_path / "senders" / "odd")
    senders = {**SENDERS, "odd": odd}
    guides = {name: dict(documents_of(sender, name, version))["guide.md"] for name, sender in senders.items()}
    genuine = Case("odd", "as it came", SECRET, headers_of(odd, ODD_BODY, SECRET), ODD_BODY, 0, genuine=True)
    cases = [*_cases(requests), genuine, *_spoiled(genuine)]
    assert {case.sender for case in cases if case.genuine} == set(senders)
    wrong = [
        f"{case.sender}: {case.what}: expected {case.genuine}"
        for case, genuine in zip(cases, answers(language, guides, cases, tmp_path), strict=True)
        if genuine is not case.genuine
    ]
    assert wrong == []

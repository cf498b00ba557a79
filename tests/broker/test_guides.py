"""The code of receivers' guides, run as it stands against what Signpost delivers for every sender."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from deploy.documents.examples import examples_of
from deploy.documents.folder import documents_of
from deploy.documents.verification import LANGUAGES
from deploy.local.broker import Broker
from deploy.local.receiver import Receiver
from deploy.local.replies import Received
from producers.events import EventPublisher
from producers.subscription_changes import Apply
from schemas.event import Event
from schemas.rules import Draft, Given
from schemas.sender import Sender
from schemas.standard_webhooks import public_text
from tests.contracts.senders import SENDERS, WHSEC
from tests.support.attempts import Attempted, headers_of
from tests.support.guides import PARTS, Case, answers
from tests.support.parts import need
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import RoleStarter
from tests.support.topics import remove_topics

PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
OTHER_PRIVATE = "whsk_" + base64.b64encode(bytes(range(32))).decode()
OTHER_WHSEC = "whsec_" + base64.b64encode(bytes(range(64))).decode()
WORDS = "schlüssel whsec_ sha256= 株 \\"  # a secret is its bytes, whatever it begins with or looks like
# Endpoint: its sender, its secret, and another secret of the same form.
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
    """What each endpoint was sent: an example of up to three types of its sender."""
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
    return Apply(Draft(id=id_, sender=sender, customer_id="acme", url=url, event_types=("*",), secret=Given(secret)))


def _publish(pipeline: Pipeline, sender: Sender) -> int:
    kafka = pipeline.settings.kafka_properties()
    with EventPublisher(kafka, sender=sender, topic=pipeline.names.events(sender.name)) as publisher:
        chosen = list(examples_of(sender).values())[:3]
        for example in chosen:
            data = example.value["data"] if sender.envelope_keys else example.value
            publisher.publish(
                Event(f"evt_{example.event_type}", example.event_type, 1_771_236_060_123_456, "acme", data)
            )
    return len(chosen)


def _verifying(secret: str) -> str:
    """Return what a receiver holds of a secret: the public key of a private one."""
    return public_text(secret) if secret.startswith("whsk_") else secret


def _cases(requests: Mapping[str, list[Received]]) -> Iterator[Case]:
    for id_, found in requests.items():
        name, secret, other = ENDPOINTS[id_]
        for request in found:
            headers, body, now_s = dict(request.headers), request.body, int(request.arrived_at)
            secret_known, other_known = _verifying(secret), _verifying(other)

            def case(
                what: str,
                genuine: bool,
                *,
                secret: str = secret_known,
                headers: Mapping[str, str] = headers,
                body: bytes = body,
                now_s: int = now_s,
                sender: str = name,
            ) -> Case:
                return Case(sender, what, secret, headers, body, now_s, genuine)

            yield case("as it came", True)
            yield case("another secret", False, secret=other_known)
            yield case("a changed byte", False, body=body[:-2] + b" " + body[-1:])
            yield case("written anew", False, body=json.dumps(json.loads(body)).encode())
            yield case("no body", False, body=b"")
            signed = SENDERS[name].signature.header_names[-1]
            yield case("no signature", False, headers={k: v for k, v in headers.items() if k != signed})
            yield case("an empty signature", False, headers=headers | {signed: ""})
            yield case("half a signature", False, headers=headers | {signed: headers[signed][:-4]})
            yield case("not base64", False, headers=headers | {signed: headers[signed][:6] + "=%*" + "é"})
            yield case("no prefix", False, headers=headers | {signed: headers[signed].partition("=")[2]})
            yield case("upper case", False, headers=headers | {signed: headers[signed].upper()})
            if signed != "webhook-signature":
                continue
            yield case("an id of another", False, headers=headers | {"webhook-id": "evt_2"})
            sent_s = int(headers["webhook-timestamp"])
            for seconds, genuine in ((-301, False), (-300, True), (300, True), (301, False)):
                yield case(f"{seconds} s later", genuine, now_s=sent_s + seconds)
            for time_ in ("", "x", "-1", f"{sent_s}.0", f" {sent_s}", "9" * 30):
                yield case(f"at {time_!r}", False, headers=headers | {"webhook-timestamp": time_})
            job = Attempted(event_id="evt_1")
            both = headers_of(SENDERS[name], body, other, secret, now_s=sent_s, job=job)
            yield case("during a rotation", True, headers=both)
            yield case("during a rotation, by the other", True, headers=both, secret=other_known)
            yield case("of an unknown version first", True, headers=both | {signed: f"v9,x {both[signed]}"})


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_code_of_every_guide_verifies_what_is_delivered(
    requests: Mapping[str, list[Received]], tmp_path: Path, language: str
) -> None:
    """Every delivery is genuine to the guide's code; with another secret, changed, unsigned or stale none is."""
    need(*PARTS[language])
    version = metadata.version("kafka-signpost")
    guides = {name: dict(documents_of(sender, name, version))["guide.md"] for name, sender in SENDERS.items()}
    cases = list(_cases(requests))
    assert {case.sender for case in cases if case.genuine} == set(SENDERS)
    wrong = [
        f"{case.sender}: {case.what}: expected {case.genuine}"
        for case, genuine in zip(cases, answers(language, guides, cases, tmp_path), strict=True)
        if genuine is not case.genuine
    ]
    assert wrong == []

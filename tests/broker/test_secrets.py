"""No secret is readable: the tests plant secrets and search topics, logs, metrics and command output for them."""

from __future__ import annotations

import base64
import secrets

import pytest

from consumers.delivery.endpoint import endpoints_of
from deploy.config.sealing_key import sealer_of
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse
from producers.subscriptions.changes import Apply, Change
from schemas.avro.codec import DecodedRecord
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.client_certificate import read_certificate
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import Draft, Given
from schemas.subscriptions.subscription import decode_subscription
from tests.support.pipeline import CUSTOMER, Pipeline, ends_of
from tests.support.planted import canary, found, output_of, topic_contents
from tests.support.roles import RoleStarter
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.unit.schemas.test_client_certificate import KEY, certificate, pem

pytestmark = pytest.mark.promise(6)

EVENTS = 5


def echo(secret: str) -> bytes:
    """Return a response that echoes a secret, at the beginning and across the end of the recorded first KiB."""
    return f"{secret} ".encode() * 3 + b"x" * (1_024 - 3 * len(secret) - 10) + secret.encode() + b"y" * 200


def generated_secret(pipeline: Pipeline, start_role: RoleStarter, url: str) -> str:
    """Let the command create a subscription with a generated secret, and return the secret that it shows once."""
    folder = start_role(["settings"], pipeline.env()).log.parent
    (folder / "own.yaml").write_text(
        f"subscriptions:\n  - {{id: sub-own, sender: zenoo, customer_id: {CUSTOMER}, url: '{url}', "
        "event_types: ['*'], secret: generate}\n"
    )
    command = start_role(["subscriptions", "apply", "own.yaml"], pipeline.env())
    assert command.wait() == 0, command.log_text()
    (line,) = (line for line in command.log_text().splitlines() if "secret:" in line)
    return line.partition("secret:")[2].split()[0]


def sealed_settings(token: str, private: str) -> Changes:
    """Return a header and a client certificate that contain secrets."""
    header = GivenHeader("Authorization", f"Bearer {token}")
    return Changes(headers=(header,), client_certificate=read_certificate(certificate(), private))


def row_of(outcomes: list[DecodedRecord]) -> Row:
    """Return the row of this scenario, in which three endpoints echo secrets and one of them always fails."""
    ends = ends_of(outcomes)
    return Row("echoes of secrets", EVENTS * 3, EVENTS * 2, EVENTS * 3 - len(ends), ends.total() - len(ends))


@pytest.mark.scenario
def test_planted_secrets_are_nowhere(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver, record_property: RecordProperty
) -> None:
    """No topic, log, metric or command shows a secret, even if endpoints echo it or a process has the wrong key."""
    key = secrets.token_bytes(32)
    sealing_key = base64.b64encode(key).decode()
    given = canary("given")
    other = canary("other")
    password = canary("password")
    pipeline = Pipeline(
        broker.bootstrap_servers, prefix, start_role, sealing_key=sealing_key, log_level="debug", delay_speedup=6000
    )
    base = receiver.url.rstrip("/")
    pipeline.subscribe(f"{base}/echo", secret=given)
    pipeline.subscribe(f"{base}/echo-fail", secret=other, start=1)
    token = canary("token")
    private = pem(KEY)
    pipeline.write(Change("sub-0", sealed_settings(token, private)))
    own = generated_secret(pipeline, start_role, f"{base}/well")
    known = {"/echo": f"{given} {token}", "/echo-fail": other, "/well": own}
    receiver.behave = lambda received: CannedResponse(
        500 if "fail" in received.path else 200, body=echo(known[received.path])
    )
    wanted: list[str | bytes] = [given, other, own, token, private[40:80], password, sealing_key, key]

    extra = {"SIGNPOST_KAFKA_SASL_PASSWORD": password, "SIGNPOST_KAFKA_SSL_KEY_PASSWORD": password}
    env = pipeline.env() | extra
    roles = [start_role([name, "--instance", "0"], env).wait_ready() for name in ("router", "deliver")]
    pipeline.publish_some(EVENTS)
    row_of(pipeline.wait_for_ends(EVENTS * 3)).show(record_property)
    wrong = base64.b64encode(secrets.token_bytes(32)).decode()
    keyless = start_role(
        ["deliver", "--instance", "0"], env | {"SIGNPOST_SEALING_KEY": wrong, "SIGNPOST_PREFIX": prefix}
    )
    wait_until(lambda: "record.rejected" in keyless.log_text(), what="a process without the key rejects the records")
    keyless.kill()
    command_lines = ("subscriptions list --json", "subscriptions list", "subscriptions show sub-0", "settings")
    commands = [start_role(line.split(), env) for line in command_lines]
    assert [command.wait() for command in commands] == [0] * len(commands)

    places = [*topic_contents(pipeline)]
    assert len(places) > EVENTS * 6
    assert found(places, wanted) == []
    output = [part for role in (*roles, keyless) for part in output_of(role)]
    output += [(command.name, command.log.read_bytes()) for command in commands]
    assert found(output, wanted) == []
    assert all(b"\n" in content for place, content in output if place.endswith("log"))


def test_no_type_shows_its_secret(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """`repr` and `str` of settings, commands, subscriptions and endpoints contain no secret."""
    key = secrets.token_bytes(32)
    secret = canary("held")
    password = canary("password")
    sealing_key = base64.b64encode(key).decode()
    pipeline = Pipeline(broker.bootstrap_servers, prefix, start_role, sealing_key=sealing_key)
    draft = Draft(
        id="sub-0",
        sender="zenoo",
        customer_id=CUSTOMER,
        url="https://example.com",
        event_types=("*",),
        secret=Given(secret),
    )
    pipeline.subscribe("https://example.com/hook", secret=secret)
    (message,) = pipeline.read(pipeline.names.subscriptions)
    value = message.value() or b""
    settings = pipeline.settings.model_copy(update={"kafka": {"sasl.password": password}})
    interpret = endpoints_of(
        load_senders(), EgressPolicy(), sealer_of(pipeline.settings), pipeline.names.subscriptions, 1
    )
    endpoint = interpret(0, 0, "sub-0", value)
    assert endpoint.secrets == (secret.encode(),)
    held = [settings, settings.sealing_key, sealer_of(settings), draft, draft.secret, Apply(draft)]
    held += [decode_subscription(value), endpoint, {"endpoint": endpoint}]

    printed = [(type(one).__name__, f"{one!r} {one!s}".encode()) for one in held]

    assert found(printed, [secret, password, sealing_key, key]) == []

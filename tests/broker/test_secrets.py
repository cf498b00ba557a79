"""A secret is readable nowhere but where it belongs: planted ones are looked for in all that is written."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator

import pytest

from consumers.delivery.endpoint import endpoints_of
from deploy.config.sealing_key import sealer_of
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Response
from producers.subscriptions.changes import Apply, Change
from schemas.avro.codec import Record
from schemas.network.egress import EgressPolicy
from schemas.senders.sender import load_senders
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.client_certificate import read_certificate
from schemas.subscriptions.header_rules import HeaderWish
from schemas.subscriptions.rules import Draft, Given
from schemas.subscriptions.subscription import decode_subscription
from tests.support.pipeline import CUSTOMER, Pipeline, ends_of
from tests.support.roles import Role, RoleStarter
from tests.support.table import RecordProperty, Row
from tests.support.waiting import wait_until
from tests.unit.schemas.test_client_certificate import KEY, certificate, pem

pytestmark = pytest.mark.promise(6)

EVENTS = 5


def canary(name: str) -> str:
    """A secret that cannot be anywhere by chance."""
    return f"canary-{name}-{secrets.token_hex(12)}"


def shapes(secret: str | bytes) -> set[bytes]:
    """A secret as it might be written: as it is, in base64 of any alignment, in hex, in UTF-16."""
    raw = secret.encode() if isinstance(secret, str) else secret
    encoded = {base64.b64encode(b"\x00" * shift + raw)[4:-4] for shift in range(3)}
    return {raw, raw.hex().encode(), raw.hex().upper().encode(), raw.decode("latin-1").encode("utf-16-le")} | encoded


def found(places: Iterable[tuple[str, bytes]], wanted: Iterable[str | bytes]) -> list[str]:
    """The places that hold one of the secrets in any shape."""
    shaped = [shape for secret in wanted for shape in shapes(secret)]
    return [place for place, content in places if any(shape in content for shape in shaped)]


def topic_contents(pipeline: Pipeline) -> Iterator[tuple[str, bytes]]:
    """All that is in any topic of the installation: keys, values and headers."""
    for topic in pipeline.admin.list_topics(timeout=30).topics:
        if topic.startswith(pipeline.names.prefix):
            for message in pipeline.read(topic):
                parts = [message.key() or b"", message.value() or b"", repr(message.headers()).encode()]
                yield f"{topic} {message.partition()}/{message.offset()}", b"\n".join(map(bytes, parts))


def said_by(role: Role) -> Iterator[tuple[str, bytes]]:
    """All that a role shows and writes."""
    for path in ("/metrics", "/readyz", "/healthz"):
        yield f"{role.name} {path}", role.get(path)[1].encode()
    yield f"{role.name} log", role.log.read_bytes()


def echo(secret: str) -> bytes:
    """What an endpoint that tells what it knows answers: its secret, and again where what is kept of it ends."""
    return f"{secret} ".encode() * 3 + b"x" * (1_024 - 3 * len(secret) - 10) + secret.encode() + b"y" * 200


def generated_secret(pipeline: Pipeline, start_role: RoleStarter, url: str) -> str:
    """Let the command make a subscription with a secret, and return what it shows of it once."""
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
    """A header and a client certificate with secrets in them."""
    header = HeaderWish("Authorization", f"Bearer {token}")
    return Changes(headers=(header,), client_certificate=read_certificate(certificate(), private))


def row_of(outcomes: list[Record]) -> Row:
    """What it came to that two of three endpoints echo."""
    ends = ends_of(outcomes)
    return Row("echoes of secrets", EVENTS * 3, EVENTS * 2, EVENTS * 3 - len(ends), ends.total() - len(ends))


@pytest.mark.scenario
def test_planted_secrets_are_nowhere(
    broker: Broker, prefix: str, start_role: RoleStarter, receiver: Receiver, record_property: RecordProperty
) -> None:
    """Not in a topic, log, metric or command, though endpoints echo them and a process lacks the key."""
    key = secrets.token_bytes(32)
    sealing_key = base64.b64encode(key).decode()
    given, other, password = canary("given"), canary("other"), canary("password")
    pipeline = Pipeline(
        broker.bootstrap_servers, prefix, start_role, sealing_key=sealing_key, log_level="debug", delay_speedup=6000
    )
    base = receiver.url.rstrip("/")
    pipeline.subscribe(f"{base}/echo", secret=given)
    pipeline.subscribe(f"{base}/echo-fail", secret=other, start=1)
    token, private = canary("token"), pem(KEY)
    pipeline.write(Change("sub-0", sealed_settings(token, private)))
    own = generated_secret(pipeline, start_role, f"{base}/well")
    known = {"/echo": f"{given} {token}", "/echo-fail": other, "/well": own}
    receiver.behave = lambda received: Response(
        500 if "fail" in received.path else 200, body=echo(known[received.path])
    )
    wanted: list[str | bytes] = [given, other, own, token, private[40:80], password, sealing_key, key]

    extra = {"SIGNPOST_KAFKA_SASL_PASSWORD": password, "SIGNPOST_KAFKA_SSL_KEY_PASSWORD": password}
    env = pipeline.env() | extra
    roles = [start_role([name, "--instance", "0"], env).wait_ready() for name in ("router", "deliver")]
    pipeline.publish_some(EVENTS)
    row_of(pipeline.wait_for_ends(EVENTS * 3, 90)).show(record_property)
    wrong = base64.b64encode(secrets.token_bytes(32)).decode()
    lacking = start_role(
        ["deliver", "--instance", "0"], env | {"SIGNPOST_SEALING_KEY": wrong, "SIGNPOST_PREFIX": prefix}
    )
    wait_until(lambda: "table.record_rejected" in lacking.log_text(), what="a process without the key says so")
    lacking.kill()
    asked = ("subscriptions list --json", "subscriptions list", "subscriptions show sub-0", "settings")
    commands = [start_role(command.split(), env) for command in asked]
    assert [command.wait() for command in commands] == [0] * len(commands)

    places = [*topic_contents(pipeline)]
    assert len(places) > EVENTS * 6
    assert found(places, wanted) == []
    said = [part for role in (*roles, lacking) for part in said_by(role)]
    said += [(command.name, command.log.read_bytes()) for command in commands]
    assert found(said, wanted) == []
    assert all(b"\n" in content for place, content in said if place.endswith("log"))


def test_no_type_shows_the_secret_that_it_holds(broker: Broker, prefix: str, start_role: RoleStarter) -> None:
    """Whatever is printed of settings, wishes, subscriptions, endpoints and jobs, no secret is in it."""
    key = secrets.token_bytes(32)
    secret, password = canary("held"), canary("password")
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

"""Test deliveries: one attempt, signed by the secrets of a subscription, logged with gap-free log ids."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from consumers.delivery.inline_deliveries import InlineLimits, InlineResult, NotLogged
from consumers.kafka.append_log import AppendLog
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from deploy.roles.inline_deliveries import inline_deliveries_of, log_of_tests
from schemas.catalog.errors import InvalidInput, Unavailable
from schemas.network.egress import LOOPBACK
from schemas.records.logged_test import LoggedTest, decode_test
from schemas.records.topics import TopicNames
from schemas.senders.sender import load_senders
from schemas.settings.settings import Settings
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.http_client import local_client
from tests.support.inline import BODY, NOW_MS, delivery_to, local_deliveries, sealed_subscription
from tests.support.processes import python, read_line
from tests.support.topics import create_topic, read_topic
from tests.support.waiting import wait_until

ONBOARDING = load_senders()["onboarding"]
NEW, OLD, EXPIRED = (f"whsec_{letter * 52}" for letter in "AEI")
DEADLINE_S = 60.0


@pytest.fixture
def tests_topic(broker: Broker, prefix: str) -> str:
    """The topic `tests` of this test."""
    topic = TopicNames(prefix).tests
    create_topic(broker.bootstrap_servers, topic)
    return topic


@pytest.fixture
def log(kafka: dict[str, str], tests_topic: str) -> Iterator[AppendLog]:
    """The log on the topic `tests`."""
    with closing(AppendLog(kafka, tests_topic)) as appends:
        yield appends


@pytest.fixture
def hostile() -> Iterator[HostileReceiver]:
    """An endpoint that misbehaves as the path says."""
    with closing(HostileReceiver()) as endpoint:
        yield endpoint


def logged(broker: Broker, topic: str) -> list[tuple[int, LoggedTest]]:
    """Return log id and content of each record."""
    return [
        ((message.offset() or 0) + 1, decode_test(message.value()))
        for message in read_topic(broker.bootstrap_servers, topic)
    ]


@pytest.mark.decision("O32", "O38", "O42")
def test_each_attempt_gets_the_next_log_id(
    broker: Broker, tests_topic: str, log: AppendLog, receiver: Receiver
) -> None:
    """Every attempt is sent once and has the log id after the one before; redirects are not followed."""
    wanted = [200, 404, 302, 503, 204, 410]
    with local_deliveries(log) as deliveries:
        results = []
        for status in wanted:
            receiver.behave = always(CannedResponse(status, (("Location", f"{receiver.url}elsewhere"),)))
            results.append(deliveries.send(delivery_to(f"{receiver.url}hook?token=canary")).result(DEADLINE_S))

    assert results == [InlineResult(number, status) for number, status in enumerate(wanted, 1)]
    assert [request.path for request in receiver.requests] == ["/hook?token=canary"] * len(wanted)
    records = logged(broker, tests_topic)
    assert [(number, test.status, test.error) for number, test in records] == [
        (number, status, None) for number, status in enumerate(wanted, 1)
    ]
    first = records[0][1]
    assert (first.key_id, first.sender, first.customer_id, first.subscription_id) == (
        "key_1",
        "onboarding",
        "acme",
        None,
    )
    assert (first.host, first.event_id, first.at_ms) == ("127.0.0.1", "evt_1", NOW_MS)
    assert first.duration_us > 0


@pytest.mark.decision("O7", "O10", "O37")
def test_delivery_without_a_subscription_is_unsigned(log: AppendLog, receiver: Receiver) -> None:
    """Without a subscription there are `webhook-id` and `webhook-timestamp`, and no signature."""
    with local_deliveries(log) as deliveries:
        deliveries.send(delivery_to(receiver.url)).result(DEADLINE_S)

    (request,) = receiver.requests
    own = {name.lower(): value for name, value in request.headers if name.lower() not in {"host", "content-length"}}
    assert list(own) == ["content-type", "user-agent", "webhook-id", "webhook-timestamp"]
    assert (own["webhook-id"], own["webhook-timestamp"]) == ("evt_1", str(NOW_MS // 1_000))
    assert (request.method, request.body) == ("POST", BODY)


@pytest.mark.decision("O8", "O37")
@pytest.mark.promise(6)
def test_delivery_is_signed_as_deliveries_of_the_subscription(
    broker: Broker, tests_topic: str, log: AppendLog, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    """Valid secrets sign, newest first, the subscription's own headers are sent, and no record or log shows either."""
    subscription = sealed_subscription(
        receiver.url,
        NEW,
        former=((OLD, NOW_MS + 1), (EXPIRED, NOW_MS)),
        headers=(("Authorization", "Bearer canary-header"),),
    )
    with local_deliveries(log) as deliveries:
        result = deliveries.send(delivery_to(receiver.url, subscription=subscription)).result(DEADLINE_S)

    assert result == InlineResult(1, 200)
    (request,) = receiver.requests
    headers = {name.lower(): value for name, value in request.headers}
    assert headers["authorization"] == "Bearer canary-header"
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (NEW, OLD):
        assert ONBOARDING.verify(headers, request.body, secret, NOW_MS // 1_000) is None
    assert ONBOARDING.verify(headers, request.body, EXPIRED, NOW_MS // 1_000) is not None
    ((_, test),) = logged(broker, tests_topic)
    assert test.subscription_id == "sub_1"
    (record,) = read_topic(broker.bootstrap_servers, tests_topic)
    shown = repr(record.value()) + "".join(capfd.readouterr())
    assert not any(secret in shown for secret in ("canary", "AAAA", "EEEE", "IIII", "Bearer", "event_type"))


def test_official_library_verifies_a_test_delivery(log: AppendLog, receiver: Receiver) -> None:
    """A receiver verifies a test delivery with the Standard Webhooks library, like any other."""
    subscription = sealed_subscription(receiver.url, NEW)
    with local_deliveries(log, clock=lambda: time.time_ns() // 1_000_000) as deliveries:
        deliveries.send(delivery_to(receiver.url, subscription=subscription)).result(DEADLINE_S)

    (request,) = receiver.requests
    headers = {name.lower(): value for name, value in request.headers}
    assert Webhook(NEW).verify(request.body, headers) == json.loads(BODY)


def test_client_certificate_is_presented(log: AppendLog, tmp_path: Path) -> None:
    """An endpoint behind a name that requires the client certificate of the subscription gets it."""
    authority = Authority(tmp_path)
    with ExitStack() as stack:
        dns = stack.enter_context(closing(DnsServer(lambda name, times: ["127.0.0.1"])))
        endpoint = HostileReceiver(authority.server("hooks.example.com", clients=True))
        stack.enter_context(closing(endpoint))
        url = f"https://hooks.example.com:{endpoint.port}/ok"
        client = local_client(dns_servers=[dns.address], roots=str(authority.roots))
        deliveries = stack.enter_context(local_deliveries(log, client=client))
        subscription = sealed_subscription(url, NEW, identity=authority.client("acme"))

        signed = deliveries.send(delivery_to(url, subscription=subscription)).result(DEADLINE_S)
        unsigned = deliveries.send(delivery_to(url)).result(DEADLINE_S)

    assert signed == InlineResult(1, 200)
    assert (unsigned.status, unsigned.log_id) == (None, 2)
    assert endpoint.clients == ["acme"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("close", "connection closed before the response"),
        ("reset", "connection closed before the response"),
        ("mid-headers", "connection closed before the response"),
        ("huge-headers", "response headers too large"),
        ("endless-headers", "response headers too large"),
        ("banner", "response is not HTTP/1.1"),
        ("http2-settings", "response is not HTTP/1.1"),
    ],
)
def test_hostile_endpoint_is_a_failure_with_a_short_reason(
    log: AppendLog, hostile: HostileReceiver, path: str, reason: str
) -> None:
    """An attempt without a valid response has no status, a few words for people, and a log id."""
    with local_deliveries(log) as deliveries:
        result = deliveries.send(delivery_to(f"http://127.0.0.1:{hostile.port}/{path}")).result(DEADLINE_S)

    assert result == InlineResult(1, None, reason)
    assert len(hostile.requests) == 1


@pytest.mark.parametrize("path", ["gigabyte", "endless-chunks", "gzip-bomb", "elsewhere", "mid-body-reset"])
def test_status_counts_whatever_the_body_is(log: AppendLog, hostile: HostileReceiver, path: str) -> None:
    """A complete head is a response, even if its body does not end."""
    with local_deliveries(log) as deliveries:
        result = deliveries.send(delivery_to(f"http://127.0.0.1:{hostile.port}/{path}")).result(DEADLINE_S)

    assert result == InlineResult(1, 200)


def test_endpoint_that_does_not_listen_is_a_failure(log: AppendLog) -> None:
    """A refused connection is an attempt: it has a log id."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with local_deliveries(log) as deliveries:
        result = deliveries.send(delivery_to(f"http://127.0.0.1:{port}/")).result(DEADLINE_S)
    assert result == InlineResult(1, None, "connection refused")


@pytest.mark.decision("O33", "O38")
@pytest.mark.parametrize("path", ["never", "mid-headers-hang", "drip-headers", "interim-only"])
def test_attempt_ends_at_the_timeout_of_the_sender(
    broker: Broker, tests_topic: str, log: AppendLog, hostile: HostileReceiver, path: str
) -> None:
    """An endpoint that does not respond gets one attempt, which ends at the sender's timeout, whatever trickles in."""
    with local_deliveries(log, timeout=timedelta(milliseconds=300)) as deliveries:
        result = deliveries.send(delivery_to(f"http://127.0.0.1:{hostile.port}/{path}")).result(DEADLINE_S)

    assert result == InlineResult(1, None, "response timed out")
    assert len(hostile.requests) == 1
    ((_, test),) = logged(broker, tests_topic)
    assert (test.status, test.error) == (None, "timeout_answer")


def test_name_that_does_not_resolve_is_a_failure(log: AppendLog) -> None:
    """A name without an address is an attempt: the customer learns that DNS failed."""
    with closing(DnsServer(lambda name, times: ["no name"])) as dns:
        client = local_client(dns_servers=[dns.address])
        with local_deliveries(log, client=client) as deliveries:
            result = deliveries.send(delivery_to("http://hooks.example.com/")).result(DEADLINE_S)
    assert result == InlineResult(1, None, "host name not found")


@pytest.fixture
def strict(kafka: dict[str, str], prefix: str) -> dict[str, Any]:
    """Settings that allow http and any port, but no address that is not public."""
    return {
        "kafka": kafka,
        "prefix": prefix,
        "allow_http": True,
        "allow_ports": [0],
        "sealing_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    }


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    "address", [*LOOPBACK, "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "fd00::1"]
)
def test_internal_address_behind_a_name_is_refused(
    broker: Broker, tests_topic: str, strict: dict[str, Any], receiver: Receiver, address: str
) -> None:
    """Nothing is sent to an address that is not public. The reason shows no address, and the attempt is logged."""
    with ExitStack() as stack:
        dns = stack.enter_context(closing(DnsServer(lambda name, times: [address])))
        settings = Settings(**strict, dns_servers=[dns.address])
        log = stack.enter_context(closing(log_of_tests(settings)))
        deliveries = stack.enter_context(closing(inline_deliveries_of(settings, log)))
        result = deliveries.send(delivery_to(f"http://hooks.example.com:{receiver.port}/")).result(DEADLINE_S)

    assert result == InlineResult(1, None, "address not allowed")
    assert (receiver.requests, receiver.open_connections) == ([], 0)
    ((_, test),) = logged(broker, tests_topic)
    assert (test.host, test.error) == ("hooks.example.com", "blocked_address")


@pytest.mark.promise(5)
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "localhost", "2130706433", "metadata.internal"])
def test_url_that_is_not_allowed_has_no_log_id(
    broker: Broker, tests_topic: str, strict: dict[str, Any], receiver: Receiver, host: str
) -> None:
    """A URL that no subscription may have is invalid input: nothing is sent, and nothing is logged."""
    settings = Settings(**strict)
    with ExitStack() as stack:
        log = stack.enter_context(closing(log_of_tests(settings)))
        deliveries = stack.enter_context(closing(inline_deliveries_of(settings, log)))
        with pytest.raises(InvalidInput, match="url"):
            deliveries.send(delivery_to(f"http://{host}:{receiver.port}/"))

    assert receiver.requests == []
    assert read_topic(broker.bootstrap_servers, tests_topic) == []


def test_settings_lead_to_the_same_client_as_that_of_deliveries(
    tests_topic: str, strict: dict[str, Any], receiver: Receiver
) -> None:
    """With loopback allowed, a test delivery composed from the settings arrives, signed by the subscription."""
    settings = Settings(**strict, allow_cidrs=["127.0.0.0/8"])
    subscription = sealed_subscription(receiver.url, NEW, topic=settings.names.subscriptions)
    with ExitStack() as stack:
        log = stack.enter_context(closing(log_of_tests(settings)))
        deliveries = stack.enter_context(closing(inline_deliveries_of(settings, log)))
        result = deliveries.send(delivery_to(receiver.url, subscription=subscription)).result(DEADLINE_S)

    assert result == InlineResult(1, 200)
    (request,) = receiver.requests
    headers = {name.lower(): value for name, value in request.headers}
    assert ONBOARDING.verify(headers, request.body, NEW) is None


def test_secrets_that_cannot_be_opened_send_nothing(log: AppendLog, receiver: Receiver) -> None:
    """A subscription that another key sealed is not tested without its signature."""
    subscription = sealed_subscription(receiver.url, NEW, key=bytes(32))
    with local_deliveries(log) as deliveries, pytest.raises(Unavailable, match="nothing was sent"):
        deliveries.send(delivery_to(receiver.url, subscription=subscription))
    assert receiver.requests == []


_PROCESS = """
    import sys
    import structlog
    from consumers.kafka.append_log import AppendLog
    from tests.support.inline import delivery_to, local_deliveries

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    servers, topic, url, count = {arguments}
    log = AppendLog({{"bootstrap.servers": servers}}, topic)
    with local_deliveries(log) as deliveries:
        for number in range(int(count)):
            path = "ok" if number % 2 else "close"
            print(deliveries.send(delivery_to(url + path)).result(60).log_id, flush=True)
"""


@pytest.mark.decision("O42")
def test_log_ids_of_two_processes_have_no_gaps(broker: Broker, tests_topic: str, hostile: HostileReceiver) -> None:
    """Two processes that deliver at the same time share one sequence: each id once, none left out, growing in each."""
    count = 20
    arguments = [broker.bootstrap_servers, tests_topic, f"http://127.0.0.1:{hostile.port}/", str(count)]
    code = _PROCESS.format(arguments=arguments)
    hostile.gate.clear()
    with ExitStack() as stack:
        processes = [stack.enter_context(python(code)) for _ in range(2)]
        wait_until(lambda: len(hostile.requests) == 2, what="both processes have begun")
        hostile.gate.set()
        ids = [[int(read_line(process)) for _ in range(count)] for process in processes]

    assert sorted(ids[0] + ids[1]) == list(range(1, 2 * count + 1))
    assert all(numbers == sorted(numbers) for numbers in ids)
    assert [number for number, _ in logged(broker, tests_topic)] == list(range(1, 2 * count + 1))


@pytest.mark.decision("O42")
def test_simultaneous_deliveries_of_a_process_have_log_ids_without_gaps(log: AppendLog, receiver: Receiver) -> None:
    """Deliveries of many customers at once get each log id once."""
    with local_deliveries(log) as deliveries:
        results = [deliveries.send(delivery_to(receiver.url, customer_id=f"c{n}")) for n in range(60)]
        ids = sorted(result.result(DEADLINE_S).log_id for result in results)
    assert ids == list(range(1, 61))


def test_attempt_that_cannot_be_logged_says_that_it_was_made(receiver: Receiver) -> None:
    """While no broker responds, the attempt is made, and the error says so and that it has no log id."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        servers = f"127.0.0.1:{unused.getsockname()[1]}"
    away = AppendLog({"bootstrap.servers": servers, "log_level": "0"}, "signpost.tests", timeout_s=0.5)
    with closing(away), local_deliveries(away) as deliveries:
        sent = deliveries.send(delivery_to(receiver.url))
        with pytest.raises(NotLogged, match=r"was attempted \(HTTP 200\), but has no log id"):
            sent.result(DEADLINE_S)
    assert len(receiver.requests) == 1


def test_one_customer_leaves_room_for_others(log: AppendLog, hostile: HostileReceiver, receiver: Receiver) -> None:
    """Endpoints of one customer that do not respond hold a few of the places only."""
    hostile.gate.clear()
    limits = InlineLimits(at_once=3, of_customer=2)
    with local_deliveries(log, limits=limits, wait_s=DEADLINE_S) as deliveries:
        held = [deliveries.send(delivery_to(f"http://127.0.0.1:{hostile.port}/ok")) for _ in range(5)]
        wait_until(lambda: len(hostile.requests) == 2, what="two requests are held")

        other = deliveries.send(delivery_to(receiver.url, customer_id="other")).result(DEADLINE_S)

        assert other.status == 200
        assert [one.running() for one in held] == [True, True, False, False, False]
        hostile.gate.set()
        assert {one.result(DEADLINE_S).status for one in held} == {200}


def test_delivery_that_waits_too_long_is_not_sent(log: AppendLog, hostile: HostileReceiver) -> None:
    """A delivery that finds no place within the timeout of the sender is refused, and so is one too many."""
    hostile.gate.clear()
    now_s = [0.0]
    limits = InlineLimits(at_once=1, waiting=1)
    url = f"http://127.0.0.1:{hostile.port}/ok"
    with local_deliveries(log, limits=limits, monotonic=lambda: now_s[0]) as deliveries:
        first, second, third = (deliveries.send(delivery_to(url)) for _ in range(3))
        with pytest.raises(Unavailable, match="nothing was sent"):
            third.result(DEADLINE_S)
        wait_until(lambda: len(hostile.requests) == 1, what="one request is held")
        assert not second.done()

        now_s[0] = 30.0
        with pytest.raises(Unavailable, match="nothing was sent"):
            second.result(DEADLINE_S)

        hostile.gate.set()
        assert first.result(DEADLINE_S) == InlineResult(1, 200)
    assert len(hostile.requests) == 1


def test_cancelled_delivery_is_not_sent(log: AppendLog, hostile: HostileReceiver) -> None:
    """A caller that has gone before its delivery started causes no request."""
    hostile.gate.clear()
    url = f"http://127.0.0.1:{hostile.port}/ok"
    with local_deliveries(log, limits=InlineLimits(at_once=1)) as deliveries:
        first, second, third = (deliveries.send(delivery_to(url)) for _ in range(3))
        wait_until(first.running, what="the first one runs")
        assert second.cancel()
        assert not first.cancel()
        hostile.gate.set()
        assert (first.result(DEADLINE_S).log_id, third.result(DEADLINE_S).log_id) == (1, 2)
    assert len(hostile.requests) == 2


def test_closing_waits_for_attempts_and_starts_none(log: AppendLog, hostile: HostileReceiver) -> None:
    """An attempt under way ends with its log id, a waiting delivery is not sent, and a later one is refused."""
    hostile.gate.clear()
    url = f"http://127.0.0.1:{hostile.port}/ok"
    with local_deliveries(log, limits=InlineLimits(at_once=1), wait_s=DEADLINE_S) as deliveries:
        first, second = (deliveries.send(delivery_to(url)) for _ in range(2))
        wait_until(lambda: len(hostile.requests) == 1, what="one request is held")
        second.add_done_callback(lambda _: hostile.gate.set())

    wait([first, second], DEADLINE_S)
    assert first.result() == InlineResult(1, 200)
    assert isinstance(second.exception(), Unavailable)
    with pytest.raises(Unavailable, match="stopping"):
        deliveries.send(delivery_to(url))
    assert len(hostile.requests) == 1


def test_closing_cuts_off_attempts_that_do_not_end(log: AppendLog, hostile: HostileReceiver) -> None:
    """The process stops although an endpoint does not respond, and the caller learns that there is no log id."""
    with local_deliveries(log) as deliveries:
        held = deliveries.send(delivery_to(f"http://127.0.0.1:{hostile.port}/never"))
        wait_until(lambda: len(hostile.requests) == 1, what="the request is held")
    with pytest.raises(NotLogged, match="stopped before"):
        held.result(DEADLINE_S)

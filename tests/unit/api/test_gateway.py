"""What is the same for every request: ids, limits, errors, methods, log lines and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from producers.api.body import MAX_BODY
from schemas.catalog.errors import SealBroken, SubscriptionError, Unavailable
from schemas.network.egress import EgressPolicy
from tests.support.api_ports import START_MS, Diligent, MemoryApi, Onboarding, chunks

URL = "https://hooks.example.com/s"
SECRET = "planted-7f3a"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["event_type", "webhook_url", "description", "filters", "is_active", "secret", "events", "secret_key"]


def json_bytes(value: object) -> bytes:
    """JSON with integers of any size, which orjson refuses."""
    return json.dumps(value).encode()


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def writing(api: MemoryApi) -> list[tuple[str, str, dict[str, str]]]:
    """Method, path and headers of each operation with a body."""
    onboarding, diligent = Onboarding(api), Diligent(api)
    first, second = onboarding.created(), diligent.created()
    return [
        ("POST", "/api/v1/webhooks/", onboarding.headers),
        ("PATCH", f"/api/v1/webhooks/{first}/", onboarding.headers),
        ("POST", "/api/v1/webhooks/test/", onboarding.headers),
        ("POST", "/webhooks", diligent.headers),
        ("PATCH", f"/webhooks/{second}", diligent.headers),
    ]


def assert_documented(response: httpx.Response) -> None:
    """Check that an answer is a success or a documented refusal, in the form of its flavour."""
    assert response.status_code in {200, 201, 400, 413}, response.text
    body = orjson.loads(response.content)
    if response.status_code >= 400:
        is_onboarding = response.request.url.path.startswith("/api/")
        assert list(body)[:3] == (["error", "code", "request_id"] if is_onboarding else ["error"])


@settings(max_examples=60)
@given(st.binary(max_size=200) | JSON.map(json_bytes))
def test_any_body_has_a_documented_answer(body: bytes) -> None:
    """No bytes cause a 5xx or an undocumented status, in any operation."""
    api = MemoryApi()
    for method, path, headers in writing(api):
        assert_documented(api.request(method, path, headers=headers, content=body))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_values_of_the_fields_have_a_documented_answer(fields: dict[str, Any]) -> None:
    """No values of the known fields cause a 5xx or an undocumented status."""
    api = MemoryApi()
    for method, path, headers in writing(api):
        assert_documented(api.request(method, path, headers=headers, content=json_bytes(fields)))
        valid = {"event_type": "all", "webhook_url": URL} | fields
        assert_documented(api.request(method, path, headers=headers, content=json_bytes(valid)))


def test_large_bodies_are_refused_everywhere(api: MemoryApi) -> None:
    """A declared and an undeclared length above 256 KiB give 413, and the connection closes."""
    half = b" " * (MAX_BODY // 2 + 1)
    for method, path, headers in writing(api):
        for content in (half + half, chunks(half, half)):
            response = api.request(method, path, headers=headers, content=content)
            assert (response.status_code, response.headers["Connection"]) == (413, "close")


def test_body_in_parts_is_read(api: MemoryApi) -> None:
    """A body without Content-Length is like any other, and needs no Content-Type."""
    parts = chunks(b'{"webhook_url": "https://hooks.', b'example.com/"', b"}")
    response = api.request("POST", "/webhooks", headers=Diligent(api).headers, content=parts)
    assert response.status_code == 201


def test_slow_client_is_cut_off() -> None:
    """A body that stops arriving gives 408 in both flavours."""

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Future()

    api = MemoryApi(body_timeout_s=0.01)
    for path, headers in (("/api/v1/webhooks/", Onboarding(api).headers), ("/webhooks", Diligent(api).headers)):
        response = api.request("POST", path, headers=headers, content=stalled())
        assert (response.status_code, response.headers["Connection"]) == (408, "close")


def test_connection_closes_if_a_body_is_left(api: MemoryApi) -> None:
    """An answer before the end of the body, such as 401, ends the connection; without a body it stays open."""
    for content, closes in ((b"{}", True), (chunks(b"{", b"}"), True), (b"", False)):
        response = api.request("POST", "/webhooks", content=content)
        assert response.status_code == 401
        assert ("Connection" in response.headers) == closes
    assert "Connection" not in Diligent(api).create().headers


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/api/v1/webhooks/", "PUT", "GET, POST"),
        ("/api/v1/webhooks/", "OPTIONS", "GET, POST"),
        ("/api/v1/webhooks/99999999-9999-4999-8999-999999999999/", "POST", "GET, PATCH, DELETE"),
        ("/api/v1/webhooks/test/", "HEAD", "POST"),
        ("/webhooks", "DELETE", "GET, POST"),
        ("/webhooks/x", "POST", "GET, PATCH, DELETE"),
        ("/webhooks/x", "TRACE", "GET, PATCH, DELETE"),
        ("/webhooks/x", "FOO", "GET, PATCH, DELETE"),
    ],
)
@pytest.mark.decision("O3")
def test_other_method_is_not_allowed(api: MemoryApi, path: str, method: str, allowed: str) -> None:
    """The answer is 405 in the form of the flavour, with the methods of the path."""
    response = api.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    if method != "HEAD":
        assert ("code" in response.json()) == path.startswith("/api/")


@pytest.mark.parametrize(
    "path", ["/", "/favicon.ico", "/docs", "/openapi.json", "/webhook", "/api", "/api/v1/", "/%00"]
)
def test_unknown_path_is_not_found(api: MemoryApi, path: str) -> None:
    """Below /api/ the error has the form of the Onboarding API, elsewhere that of Diligent's."""
    response = api.request("GET", path)
    assert response.status_code == 404
    assert ("code" in response.json()) == path.startswith("/api/")


def test_head_is_get_without_a_body(api: MemoryApi) -> None:
    """HEAD has the headers of GET, also its length."""
    customer = Diligent(api)
    id_ = customer.created()
    for place in (None, id_, "nothing"):
        get, head = customer.request("GET", place), customer.request("HEAD", place)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.decision("O2")
def test_every_answer_has_its_own_request_id(api: MemoryApi) -> None:
    """It is a UUID of the server, whatever the client sends, and it is in the errors of the Onboarding API."""
    customer = Onboarding(api)
    responses = [
        customer.create(),
        customer.request("GET", "nothing"),
        api.request("GET", "/", headers={"X-Request-Id": "mine"}),
    ]
    ids = [UUID(response.headers["X-Request-Id"]) for response in responses]
    assert len(set(ids)) == 3
    assert responses[1].json()["request_id"] == str(ids[1])
    assert {response.headers["Cache-Control"] for response in responses} == {"no-store"}


def test_ledger_that_is_away_refuses_what_needs_it(api: MemoryApi) -> None:
    """List and get answer 503 with a reason; create, update, delete and test work, and so does an empty list."""
    for customer in (Onboarding(api), Diligent(api)):
        api.deliveries.is_away = True
        assert customer.request("GET").status_code == 200
        id_ = customer.created()
        for response in (customer.request("GET"), customer.request("GET", id_)):
            assert response.status_code == 503
            assert "delivery statistics" in response.json()["error"]
        assert customer.request("PATCH", id_, {"is_active": False}).status_code == 200
        assert customer.request("DELETE", id_).status_code in {200, 204}
    assert Onboarding(api).test().status_code == 200


def test_broker_that_is_away_refuses_writes(api: MemoryApi) -> None:
    """Reads work; a write says that it is not confirmed."""
    customers = [Onboarding(api), Diligent(api)]
    ids = [customer.created() for customer in customers]
    api.changes.error = Unavailable("signpost.subscriptions could not be written")
    api.tests.is_away = True
    for customer, id_ in zip(customers, ids, strict=True):
        assert customer.request("GET", id_).status_code == 200
        for response in (
            customer.create(),
            customer.request("PATCH", id_, {"is_active": False}),
            customer.request("DELETE", id_),
        ):
            assert response.status_code == 503
            assert "not confirmed" in response.json()["error"]
    assert customers[0].request("POST", "test", {"webhook_url": URL}).status_code == 503
    assert api.metrics.writes.count("unavailable") == 6


@pytest.mark.parametrize("error", [RuntimeError(SECRET), SealBroken(SECRET), KeyError(SECRET), ValueError(SECRET)])
def test_unexpected_error_says_nothing_of_itself(api: MemoryApi, error: Exception) -> None:
    """The answer is 500 in the form of the flavour. The log has the type and the place, no value of the error."""
    api.changes.error = error
    for customer in (Onboarding(api), Diligent(api)):
        with capture_logs() as lines:
            response = customer.create()
        assert (response.status_code, response.json()["error"]) == (500, "Internal server error")
        assert SECRET not in response.text
        assert SECRET not in repr(lines)
        (failed,) = [line for line in lines if line["event"] == "api.failed"]
        assert (failed["error"], failed["request_id"]) == (type(error).__name__, response.headers["X-Request-Id"])
        assert any("write" in frame for frame in failed["frames"])


def test_refusal_of_the_writer_is_the_customers_error(api: MemoryApi) -> None:
    """If the record changed between the check and the write, the answer is 400."""
    customer = Diligent(api)
    id_ = customer.created()
    api.changes.error = SubscriptionError("subscription x: the record cannot be read")
    assert customer.request("PATCH", id_, {"is_active": False}).status_code == 400
    assert api.metrics.writes == ["created", "refused"]


def test_each_request_is_one_log_line(api: MemoryApi) -> None:
    """The line has operation, flavour, status, duration and ids."""
    customer = Onboarding(api)
    with capture_logs() as lines:
        response = customer.create()
        id_ = response.json()["id"]
        customer.request("GET", id_)
        customer.request("GET", "99999999-9999-4999-8999-999999999999")
        api.request("GET", "/")
    assert [line.pop("duration_ms") >= 0 for line in lines] == [True] * 4
    common = {"event": "api.requested", "log_level": "info", "flavour": "onboarding"}
    whose = {"key_id": "id-of-0", "customer": "acme"}
    assert lines[0] == common | whose | {
        "operation": "create",
        "status": 201,
        "subscription": id_,
        "request_id": response.headers["X-Request-Id"],
    }
    assert [(line["operation"], line["status"], line["subscription"], line.get("code")) for line in lines[1:]] == [
        ("get", 200, id_, None),
        ("get", 404, None, "not_found"),
        ("none", 404, None, "not_found"),
    ]
    assert (lines[3]["flavour"], lines[3]["key_id"], lines[3]["customer"]) == ("diligent", None, None)


def test_successful_requests_are_sampled_and_failures_are_not() -> None:
    """In a second with 60 successes 2 have a line, and other lines count those left out. Each refusal has a line."""
    api = MemoryApi(successes_per_second=2, monotonic=lambda: 100.0)
    customer = Onboarding(api)
    with capture_logs() as lines:
        for _ in range(60):
            assert customer.request("GET").status_code == 200
            assert customer.request("GET", "99999999-9999-4999-8999-999999999999").status_code == 404
    statuses = [line["status"] for line in lines]
    assert statuses.count(404) == 60
    assert statuses.count(200) == 2
    assert sum(line.get("omitted", 0) for line in lines) == 58
    assert api.metrics.lines_omitted == 58
    assert len(api.metrics.requests) == 120


def test_log_has_no_secret_and_no_url(api: MemoryApi) -> None:
    """Keys, secrets, bodies, and paths and queries of URLs are in no log line and in no error."""
    planted = f"https://hooks.example.com/{SECRET}?token={SECRET}"
    bad = f"http://{SECRET}:{SECRET}@hooks.example.com/{SECRET}"
    onboarding = Onboarding(api)
    diligent = Diligent(api)
    key = api.keys.add(f"key-{SECRET}", "diligent", "acme")
    with capture_logs() as lines:
        first = onboarding.create(webhook_url=planted, description=SECRET)
        second = diligent.create(webhook_url=planted, secret=SECRET)
        assert (first.status_code, second.status_code) == (201, 201)
        refused = [
            onboarding.create(webhook_url=bad, filters=[SECRET]),
            diligent.create(webhook_url=bad, secret=SECRET * 100, events=[1]),
            onboarding.test(bad),
            api.request("POST", "/webhooks", headers={"X-API-KEY": key}, content=f'{{"{SECRET}'.encode()),
            api.request("GET", f"/webhooks/{SECRET}?{SECRET}", headers={"X-API-KEY": key}),
            api.request("GET", f"/{SECRET}", headers={"X-API-KEY": SECRET, "Authorization": f"Bearer {SECRET}"}),
        ]
        onboarding.test(planted)
    assert {response.status_code for response in refused} == {400, 404}
    for response in refused:
        assert SECRET not in response.text
    assert len(lines) == 9
    assert SECRET not in repr(lines)
    assert first.json()["secret_key"] not in repr(lines)


def test_requests_and_writes_are_counted(api: MemoryApi) -> None:
    """Each request counts by flavour, operation and status, each command by its effect."""
    customer = Diligent(api)
    id_ = customer.created()
    customer.request("PATCH", id_, {"is_active": False})
    customer.request("PATCH", id_, {"is_active": False})
    customer.request("GET", id_)
    customer.request("DELETE", id_)
    api.request("GET", "/api/v1/webhooks/")
    api.request("GET", "/api/")
    assert api.metrics.requests == [
        ("diligent", "create", 201),
        ("diligent", "update", 200),
        ("diligent", "update", 200),
        ("diligent", "get", 200),
        ("diligent", "delete", 204),
        ("onboarding", "list", 401),
        ("onboarding", "none", 404),
    ]
    assert min(api.metrics.durations_s) >= 0
    assert api.metrics.writes == ["created", "changed", "unchanged", "deleted"]


def test_egress_rules_decide_about_http() -> None:
    """An installation for development takes http:// to loopback, with any port."""
    api = MemoryApi(EgressPolicy(True, (ip_network("127.0.0.0/8"),), frozenset({0})))
    for customer in (Onboarding(api), Diligent(api)):
        assert customer.create(webhook_url="http://127.0.0.1:8080/hook").status_code == 201
        assert customer.create(webhook_url="http://10.0.0.1/hook").status_code == 400


def test_totals_are_asked_for_once(api: MemoryApi) -> None:
    """A list asks the ledger once, for all its webhooks."""
    customer = Onboarding(api)
    ids = {customer.created() for _ in range(3)}
    api.changes.now_ms = START_MS
    customer.request("GET")
    assert [set(one) for one in api.deliveries.asked] == [ids]

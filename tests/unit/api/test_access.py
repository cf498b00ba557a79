"""Who may do what: operators, rate limits, and what a refused request does not reach.

The matrix of keys, operations and customers is in tests/broker/api/test_access.py, against an API process.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from producers.api.ports import DeliveryTotals
from tests.support.api_ports import START_MS, Diligent, MemoryApi, Onboarding
from tests.support.api_requests import EACH, NOBODY, OF_ONE, URL, Request


def send(api: MemoryApi, request: Request, headers: dict[str, str], id_: str) -> httpx.Response:
    """Send a request for a webhook."""
    return api.request(request.method, request.path_of(id_), headers=headers, content=request.content)


class Two:
    """The webhooks of acme in both flavours, with deliveries; the same of globex."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.customers = {
            (customer, kind): make(api, customer)
            for customer in ("acme", "globex")
            for kind, make in (("onboarding", Onboarding), ("diligent", Diligent))
        }
        self.ids = {whose: customer.created() for whose, customer in self.customers.items()}
        for id_ in self.ids.values():
            api.deliveries.of[id_] = DeliveryTotals(7, 3, START_MS, 500)
        self.records = dict(api.subscriptions.found)

    def id_of(self, request: Request, customer: str = "acme") -> str:
        return self.ids[customer, request.flavour]

    def key_of(self, request: Request) -> str:
        return self.customers["acme", request.flavour].key

    def is_untouched(self) -> bool:
        return self.api.subscriptions.found == self.records and self.api.tests.sent == []


@pytest.fixture
def two() -> Two:
    return Two(MemoryApi())


def error_of(response: httpx.Response, code: str) -> None:
    """Check the form of an error: onboarding has a code and the request's id, Diligent a string."""
    body = response.json()
    if response.request.url.path.startswith("/api/"):
        assert list(body) == ["error", "code", "request_id"]
        assert (body["code"], body["request_id"]) == (code, response.headers["X-Request-Id"])
    else:
        assert list(body) == ["error"]
    assert isinstance(body["error"], str)


@EACH
def test_refused_request_asks_nothing(two: Two, request_: Request) -> None:
    """Without a valid key, or with the id of another customer, nothing asks the ledger, writes or sends."""
    for headers in ({}, request_.headers("unknown")):
        assert send(two.api, request_, headers, two.id_of(request_)).status_code == 401
    assert len(two.api.keys.requests) == len(two.ids)  # those that created the webhooks
    if request_ in OF_ONE:
        headers = request_.headers(two.key_of(request_))
        assert send(two.api, request_, headers, two.id_of(request_, "globex")).status_code == 404
    assert two.is_untouched()
    assert two.api.deliveries.asked == []


@EACH
def test_bytes_that_are_no_key_are_refused(two: Two, request_: Request) -> None:
    """A key of bytes outside of ASCII never reaches the comparison, and two keys are none."""
    name = b"Authorization" if request_.is_onboarding else b"X-API-KEY"
    value = f"Bearer {two.key_of(request_)}".encode() if request_.is_onboarding else two.key_of(request_).encode()
    for headers in ([(name, b"Bearer \xff\xfe")], [(name, "ключ".encode())], [(name, value), (name, value)]):
        response = two.api.request(request_.method, request_.path.format(id=NOBODY), headers=headers)
        assert response.status_code == 401


@pytest.mark.decision("O5")
def test_keys_of_one_customer_see_the_same_webhooks(two: Two) -> None:
    """A webhook belongs to the customer: a second key reads, changes and deletes those of the first."""
    acme = two.customers["acme", "onboarding"]
    second = Onboarding(two.api, "acme")
    id_ = two.ids["acme", "onboarding"]
    assert second.request("GET").content == acme.request("GET").content
    assert second.request("PATCH", id_, {"description": "new"}).status_code == 200
    assert acme.request("GET", id_).json()["description"] == "new"
    assert second.request("DELETE", id_).status_code == 200
    assert acme.request("GET", id_).status_code == 404


@pytest.mark.decision("O1")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_scheme_is_case_insensitive(two: Two, scheme: str) -> None:
    """RFC 9110: the name of a scheme has no case, and spaces may follow it."""
    headers = {"Authorization": f"{scheme} {two.customers['acme', 'onboarding'].key}"}
    assert two.api.request("GET", "/api/v1/webhooks/", headers=headers).status_code == 200


@pytest.mark.decision("O3")
@EACH
def test_too_many_requests_are_refused(two: Two, request_: Request) -> None:
    """The answer is 429 with the whole seconds to wait, and the operation is not run."""
    key = two.key_of(request_)
    two.api.keys.waits[two.api.keys.callers[key].key_id] = 2.3
    response = send(two.api, request_, request_.headers(key), two.id_of(request_))
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    error_of(response, "rate_limited")
    assert two.is_untouched()


@EACH
def test_operator_acts_for_the_customer_in_the_header(two: Two, request_: Request) -> None:
    """With the header the answer is the customer's; the commands name the operator's key."""
    key = two.api.keys.add("operator", None, None)
    headers = request_.headers(key) | {"X-Signpost-Customer": "acme"}
    assert send(two.api, request_, headers, two.id_of(request_)).status_code in {200, 201, 204}
    assert send(two.api, request_, headers, two.id_of(request_, "globex")).status_code in {200, 201, 404}
    written = two.api.changes.written[len(two.ids) :]
    assert {one.by.key_id for one in written} <= {two.api.keys.callers[key].key_id}
    assert two.id_of(request_, "globex") in two.api.subscriptions.found


@EACH
@pytest.mark.parametrize("value", [None, b"", b" ", b"\xff", b"a" * 257, "a\u200b".encode()])
def test_operator_has_to_name_a_customer(two: Two, request_: Request, value: bytes | None) -> None:
    """Without the header, or with one that no customer can have, the request is refused and the header named."""
    key = two.api.keys.add("operator", None, None)
    headers: Any = {name.encode(): text.encode() for name, text in request_.headers(key).items()}
    if value is not None:
        headers[b"X-Signpost-Customer"] = value
    response = send(two.api, request_, headers, two.id_of(request_))
    assert response.status_code == 400
    assert "X-Signpost-Customer" in response.text
    assert two.is_untouched()


def test_customer_of_another_language_has_a_header() -> None:
    """The header is UTF-8."""
    api = MemoryApi()
    api.keys.add("operator", None, None)
    headers: Any = {b"X-API-KEY": b"operator", b"X-Signpost-Customer": "Bäcker".encode()}
    created = api.request("POST", "/webhooks", headers=headers, json={"webhook_url": URL})
    assert created.status_code == 201
    assert {one.customer_id for one in api.subscriptions.found.values()} == {"Bäcker"}


@EACH
def test_customer_cannot_act_for_another(two: Two, request_: Request) -> None:
    """The header of operators has no effect with a customer's key."""
    headers = request_.headers(two.key_of(request_)) | {"X-Signpost-Customer": "globex"}
    response = send(two.api, request_, headers, two.id_of(request_, "globex"))
    if request_ in OF_ONE:
        assert response.status_code == 404
    globex = [one for one in two.api.subscriptions.found.values() if one.customer_id == "globex"]
    assert globex == [one for one in two.records.values() if one.customer_id == "globex"]
    assert two.id_of(request_, "globex") not in response.text

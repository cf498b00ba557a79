"""Who may do what: every operation with every kind of key, and nothing that hints at another customer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from producers.api.ports import DeliveryTotals
from tests.support.api_ports import START_MS, Diligent, MemoryApi, Onboarding

NOBODY = "99999999-9999-4999-8999-999999999999"
URL = "https://hooks.example.com/s"


class Request(NamedTuple):
    """A valid request of an operation. `{id}` in the path stands for the id of a webhook."""

    name: str
    method: str
    path: str
    body: Any = None
    writes: bool = True

    def __str__(self) -> str:
        return f"{'onboarding' if self.is_onboarding else 'diligent'}-{self.name}"

    @property
    def is_onboarding(self) -> bool:
        return self.path.startswith("/api/")

    def send(self, api: MemoryApi, headers: dict[str, str], id_: str) -> httpx.Response:
        content = b"" if self.body is None else json.dumps(self.body).encode()
        return api.request(self.method, self.path.format(id=id_), headers=headers, content=content)


REQUESTS = [
    Request("create", "POST", "/api/v1/webhooks/", {"event_type": "all", "webhook_url": URL}),
    Request("list", "GET", "/api/v1/webhooks/", writes=False),
    Request("get", "GET", "/api/v1/webhooks/{id}/", writes=False),
    Request("update", "PATCH", "/api/v1/webhooks/{id}/", {"description": "new"}),
    Request("delete", "DELETE", "/api/v1/webhooks/{id}/"),
    Request("test", "POST", "/api/v1/webhooks/test/", {"webhook_url": URL}),
    Request("create", "POST", "/webhooks", {"webhook_url": URL}),
    Request("list", "GET", "/webhooks", writes=False),
    Request("get", "GET", "/webhooks/{id}", writes=False),
    Request("update", "PATCH", "/webhooks/{id}", {"is_active": False}),
    Request("delete", "DELETE", "/webhooks/{id}"),
]
OF_ONE = [request for request in REQUESTS if "{id}" in request.path]
# A request of the other flavour, by whether a request is of the Onboarding API.
OTHER = {True: REQUESTS[-1], False: REQUESTS[0]}
EACH = pytest.mark.parametrize("request_", REQUESTS, ids=str)
EACH_OF_ONE = pytest.mark.parametrize("request_", OF_ONE, ids=str)


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

    def headers(self, request: Request, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if request.is_onboarding else {"X-API-KEY": key}

    def id_of(self, request: Request, customer: str = "acme") -> str:
        return self.ids[customer, "onboarding" if request.is_onboarding else "diligent"]

    def key_of(self, request: Request, customer: str = "acme") -> str:
        return self.customers[customer, "onboarding" if request.is_onboarding else "diligent"].key

    def is_untouched(self) -> bool:
        return self.api.subscriptions.found == self.records and self.api.tests.sent == []


@pytest.fixture
def two() -> Two:
    return Two(MemoryApi())


def without_request_id(response: httpx.Response) -> str:
    return response.text.replace(response.headers["X-Request-Id"], "")


def error_of(response: httpx.Response, code: str) -> None:
    """Check the form of an error: onboarding has a code and the request's id, Diligent a string."""
    body = response.json()
    if response.request.url.path.startswith("/api/"):
        assert list(body) == ["error", "code", "request_id"]
        assert (body["code"], body["request_id"]) == (code, response.headers["X-Request-Id"])
    else:
        assert list(body) == ["error"]
    assert isinstance(body["error"], str)


@pytest.mark.decision("O1", "O2", "O3", "O6", "D10", "D12")
@EACH
@pytest.mark.parametrize(
    "headers_of",
    [
        lambda two, request: {},
        lambda two, request: two.headers(request, ""),
        lambda two, request: two.headers(request, "unknown"),
        lambda two, request: two.headers(request, f"{two.key_of(request)}x"),
        lambda two, request: two.headers(request, f"{two.key_of(request)} x"),
        lambda two, request: two.headers(request, "a" * 100_000),
        lambda two, request: {"Authorization": two.key_of(request)},
        lambda two, request: {"Authorization": f"Basic {two.key_of(request)}"},
        lambda two, request: {"Authorization": f"Bearer,{two.key_of(request)}"},
        lambda two, request: {"Cookie": f"session={two.key_of(request)}; api_key={two.key_of(request)}"},
        # The key of the other flavour, in the header of each.
        lambda two, request: two.headers(request, two.key_of(OTHER[request.is_onboarding])),
        # The right key in the header of the other flavour.
        lambda two, request: two.headers(OTHER[request.is_onboarding], two.key_of(request)),
        lambda two, request: two.headers(request, two.api.keys.add("zenoo-key", "zenoo", "acme")),
    ],
)
def test_request_without_a_valid_key_of_the_flavour_is_refused(
    two: Two, request_: Request, headers_of: Callable[[Two, Request], dict[str, str]]
) -> None:
    """Whatever is wrong with the key, the answer is the same 401, and nothing is read or written."""
    response = request_.send(two.api, headers_of(two, request_), two.id_of(request_))
    assert response.status_code == 401
    error_of(response, "authentication_failed")
    assert without_request_id(response) == without_request_id(request_.send(two.api, {}, NOBODY))
    assert response.headers["WWW-Authenticate"] == ("Bearer" if request_.is_onboarding else "X-API-KEY")
    assert two.is_untouched()
    assert two.api.deliveries.asked == []
    assert len(two.api.keys.requests) == len(two.ids)


@EACH
def test_bytes_that_are_no_key_are_refused(two: Two, request_: Request) -> None:
    """A key of bytes outside of ASCII never reaches the comparison, and two keys are none."""
    name = b"Authorization" if request_.is_onboarding else b"X-API-KEY"
    value = f"Bearer {two.key_of(request_)}".encode() if request_.is_onboarding else two.key_of(request_).encode()
    for headers in ([(name, b"Bearer \xff\xfe")], [(name, "ключ".encode())], [(name, value), (name, value)]):
        response = two.api.request(request_.method, request_.path.format(id=NOBODY), headers=headers)
        assert response.status_code == 401


@EACH
def test_read_only_key_reads(two: Two, request_: Request) -> None:
    """An operation that writes, or sends something, is refused with 403; the others work."""
    kind = "onboarding" if request_.is_onboarding else "diligent"
    key = two.api.keys.add("read-only", kind, "acme", may_write=False)
    response = request_.send(two.api, two.headers(request_, key), two.id_of(request_))
    assert response.status_code == (403 if request_.writes else 200)
    if request_.writes:
        error_of(response, "permission_denied")
    assert two.is_untouched()


@pytest.mark.decision("O4", "D17")
@EACH_OF_ONE
def test_webhook_of_another_customer_is_unknown(two: Two, request_: Request) -> None:
    """The answer is byte for byte that of an id which does not exist, apart from the request's id."""
    headers = two.headers(request_, two.key_of(request_))
    others = request_.send(two.api, headers, two.id_of(request_, "globex"))
    unknown = request_.send(two.api, headers, NOBODY)
    assert others.status_code == unknown.status_code == 404
    assert without_request_id(others) == without_request_id(unknown)
    names = {"date", "x-request-id"}
    assert {name: value for name, value in others.headers.items() if name not in names} == {
        name: value for name, value in unknown.headers.items() if name not in names
    }
    assert two.is_untouched()
    assert two.api.deliveries.asked == []


@pytest.mark.decision("O4", "D17")
@EACH_OF_ONE
def test_wrong_body_does_not_tell_unknown_webhooks_apart(two: Two, request_: Request) -> None:
    """Nobody learns from the order of checks whether an id exists, and the other flavour's webhooks are unknown."""
    headers = two.headers(request_, two.key_of(request_))
    for id_ in (two.id_of(request_, "globex"), NOBODY, two.id_of(OTHER[request_.is_onboarding])):
        response = two.api.request(request_.method, request_.path.format(id=id_), headers=headers, content=b"{")
        assert response.status_code == 404
    assert two.is_untouched()


@pytest.mark.parametrize("request_", [one for one in REQUESTS if one.name == "list"], ids=str)
def test_list_has_the_webhooks_of_the_customer_alone(two: Two, request_: Request) -> None:
    """Neither another customer's webhooks nor those of the other flavour are in it."""
    response = request_.send(two.api, two.headers(request_, two.key_of(request_)), NOBODY)
    assert two.id_of(request_) in response.text
    assert [id_ for id_ in two.ids.values() if id_ in response.text] == [two.id_of(request_)]


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
    response = request_.send(two.api, two.headers(request_, key), two.id_of(request_))
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    error_of(response, "rate_limited")
    assert two.is_untouched()


@EACH
def test_operator_acts_for_the_customer_in_the_header(two: Two, request_: Request) -> None:
    """With the header the answer is the customer's; the commands name the operator's key."""
    key = two.api.keys.add("operator", None, None)
    headers = two.headers(request_, key) | {"X-Signpost-Customer": "acme"}
    assert request_.send(two.api, headers, two.id_of(request_)).status_code in {200, 201, 204}
    assert request_.send(two.api, headers, two.id_of(request_, "globex")).status_code in {200, 201, 404}
    written = two.api.changes.written[len(two.ids) :]
    assert {one.by.key_id for one in written} <= {two.api.keys.callers[key].key_id}
    assert two.id_of(request_, "globex") in two.api.subscriptions.found


@EACH
@pytest.mark.parametrize("value", [None, b"", b" ", b"\xff", b"a" * 257, "a\u200b".encode()])
def test_operator_has_to_name_a_customer(two: Two, request_: Request, value: bytes | None) -> None:
    """Without the header, or with one that no customer can have, the request is refused and the header named."""
    key = two.api.keys.add("operator", None, None)
    headers: Any = {name.encode(): text.encode() for name, text in two.headers(request_, key).items()}
    if value is not None:
        headers[b"X-Signpost-Customer"] = value
    response = request_.send(two.api, headers, two.id_of(request_))
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
    headers = two.headers(request_, two.key_of(request_)) | {"X-Signpost-Customer": "globex"}
    response = request_.send(two.api, headers, two.id_of(request_, "globex"))
    if request_ in OF_ONE:
        assert response.status_code == 404
    globex = [one for one in two.api.subscriptions.found.values() if one.customer_id == "globex"]
    assert globex == [one for one in two.records.values() if one.customer_id == "globex"]
    assert two.id_of(request_, "globex") not in response.text

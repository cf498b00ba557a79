"""Diligent's API: what each request does, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from producers.api.ports import DeliveryTotals
from schemas.catalog.errors import TooManySubscriptions
from schemas.subscriptions.rules import Draft
from tests.support.api_ports import START_MS, TOPIC, Diligent, MemoryApi

URL = "https://hooks.example.com/d"
DRAFT = Draft(id="hook", sender="diligent", customer_id="acme", url=URL)


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def acme(api: MemoryApi) -> Diligent:
    return Diligent(api)


def problems_of(response: Any) -> list[tuple[list[str | int], str]]:
    """Path and code of each problem of a refused request."""
    assert response.status_code == 400, response.text
    body = response.json()
    assert list(body) == ["error"]
    for problem in body["error"]:
        assert list(problem) == ["code", "path", "message"]
    return [(problem["path"], problem["code"]) for problem in body["error"]]


def secret_of(acme: Diligent, id_: str) -> str:
    (secret,) = acme.api.subscriptions.found[id_].secrets
    return acme.api.changes.sealer.open(secret.sealed, topic=TOPIC, subscription_id=id_, secret_id=secret.id)


@pytest.mark.decision("D7", "D8")
def test_new_webhook_has_the_documented_defaults(acme: Diligent) -> None:
    """A webhook with a URL alone is active, has no secret and no events; get and list return the same object."""
    response = acme.create()
    expected = {
        "id": response.json()["id"],
        "webhook_url": URL,
        "is_active": True,
        "has_secret": False,
        "status": "active",
        "last_delivery_at": None,
        "last_delivery_status": None,
        "events": [],
    }
    assert (response.status_code, response.json()) == (201, expected)
    assert list(response.json()) == list(expected)
    one, every = acme.request("GET", expected["id"]), acme.request("GET")
    assert (one.status_code, one.json()) == (200, expected)
    assert (every.status_code, every.json()) == (200, [expected])
    assert one.content == every.content[1:-1] == response.content


@pytest.mark.decision("D9")
@pytest.mark.parametrize(
    "path", ["/webhooks/", "/webhooks/{id}/", "/v1/webhooks", "/v1/webhooks/{id}", "/Webhooks", "/webhooks%0A"]
)
def test_other_spelling_of_a_path_is_not_found(acme: Diligent, path: str) -> None:
    """There is no prefix and no final slash, and no redirect from them."""
    path = path.format(id=acme.created())
    for method in ("GET", "POST", "PATCH", "DELETE"):
        response = acme.api.request(method, path, headers=acme.headers, json={"webhook_url": URL})
        assert response.status_code == 404
        assert list(response.json()) == ["error"]
    assert len(acme.api.subscriptions.found) == 1


@pytest.mark.decision("D11")
def test_update_replaces_the_whole_list_of_events(acme: Diligent) -> None:
    """The list of an update is the new list; an empty one receives nothing."""
    id_ = acme.created(events=["cdd_state_changed", "alert_remediated"])
    two = ["flow_run_failed", "search_completed"]
    for events in (["search_completed"], two, two[::-1], []):
        response = acme.request("PATCH", id_, {"events": events})
        assert (response.status_code, response.json()["events"]) == (200, events)


@pytest.mark.decision("D12", "D14", "D15")
@pytest.mark.parametrize(
    ("field", "value", "path", "code"),
    [
        ("webhook_url", "http://hooks.example.com/", ["webhook_url"], "invalid_url"),
        ("webhook_url", "hooks.example.com", ["webhook_url"], "invalid_url"),
        ("webhook_url", "https://127.0.0.1/", ["webhook_url"], "invalid_url"),
        ("webhook_url", "", ["webhook_url"], "invalid_url"),
        ("webhook_url", None, ["webhook_url"], "invalid_type"),
        ("webhook_url", 5, ["webhook_url"], "invalid_type"),
        ("secret", None, ["secret"], "invalid_type"),
        ("secret", 5, ["secret"], "invalid_type"),
        ("secret", "a" * 513, ["secret"], "invalid_value"),
        ("secret", "a" * 5_000, ["secret"], "invalid_value"),
        ("is_active", None, ["is_active"], "invalid_type"),
        ("is_active", 1, ["is_active"], "invalid_type"),
        ("is_active", "true", ["is_active"], "invalid_type"),
        ("events", None, ["events"], "invalid_type"),
        ("events", "search_completed", ["events"], "invalid_type"),
        ("events", {}, ["events"], "invalid_type"),
        ("events", ["search_completed", "serch_completed"], ["events", 1], "invalid_enum_value"),
        ("events", ["*"], ["events", 0], "invalid_enum_value"),
        ("events", ["all"], ["events", 0], "invalid_enum_value"),
        ("events", ["CDD_STATE_CHANGED"], ["events", 0], "invalid_enum_value"),
        ("events", ["search_completed", None], ["events", 1], "invalid_type"),
        ("events", [["search_completed"]], ["events", 0], "invalid_type"),
    ],
)
def test_wrong_value_is_refused_with_its_path(acme: Diligent, field: str, value: Any, path: Any, code: str) -> None:
    """A creation and an update with one wrong value name its path, and change nothing."""
    assert problems_of(acme.create(**{field: value})) == [(path, code)]
    id_ = acme.created()
    assert problems_of(acme.request("PATCH", id_, {field: value})) == [(path, code)]
    assert len(acme.api.changes.written) == 1


@pytest.mark.decision("D12")
def test_all_problems_of_a_request_are_reported_together(acme: Diligent) -> None:
    """Every wrong field is in one answer, also the missing ones, and a long list of wrong events is cut."""
    wrong = {"is_active": 1, "secret": 2, "events": [f"event-{number}" for number in range(1_000)]}
    problems = problems_of(acme.request("POST", None, wrong))
    assert [path for path, _ in problems[:3]] == [["webhook_url"], ["secret"], ["is_active"]]
    assert [path for path, _ in problems[3:]] == [["events", number] for number in range(20)]


@pytest.mark.decision("D12")
def test_errors_have_the_documented_bodies(acme: Diligent) -> None:
    """401, 404 and 500 have a string, 400 a list of problems."""
    for response, status, error in (
        (acme.api.request("GET", "/webhooks"), 401, "the API key is missing or not valid"),
        (acme.request("GET", "nothing"), 404, "there is no webhook with this id"),
    ):
        assert (response.status_code, response.json()) == (status, {"error": error})
    acme.api.changes.error = RuntimeError("secret")
    response = acme.create()
    assert (response.status_code, response.content) == (500, b'{"error":"Internal server error"}')
    acme.api.changes.error = None
    response = acme.request("POST", content=b"{")
    (problem,) = response.json()["error"]
    assert (problem["code"], problem["path"]) == ("invalid_json", [])


@pytest.mark.decision("D13")
def test_eleventh_webhook_is_refused(acme: Diligent) -> None:
    """Inactive webhooks count, deleted ones do not, and another customer's limit is its own."""
    ids = [acme.created(is_active=number % 2 == 0) for number in range(10)]
    assert problems_of(acme.create()) == [([], "too_many")]
    assert len(acme.api.subscriptions.found) == 10
    Diligent(acme.api, "globex").created()
    acme.request("DELETE", ids[0])
    assert acme.create().status_code == 201
    assert problems_of(acme.create()) == [([], "too_many")]


@pytest.mark.decision("D13")
def test_limit_holds_for_simultaneous_requests(acme: Diligent) -> None:
    """Of 15 requests that all saw no webhook, the writer lets ten pass."""
    request = ("POST", "/webhooks", {"headers": acme.headers, "json": {"webhook_url": URL}})
    responses = acme.api.requests(*[request] * 15)
    assert sorted(response.status_code for response in responses) == [201] * 10 + [400] * 5
    assert {tuple(problems_of(one)[0][0]) for one in responses if one.status_code == 400} == {()}
    assert len(acme.api.subscriptions.found) == 10


def test_limit_that_another_process_reached_is_the_same_error(acme: Diligent) -> None:
    """The error of the writer and the check of this process give one answer."""
    acme.api.changes.error = TooManySubscriptions("customer acme has 10 subscriptions")
    from_writer = acme.create()
    acme.api.changes.error = None
    for _ in range(10):
        acme.created()
    assert acme.create().content == from_writer.content


@pytest.mark.decision("D14")
def test_repeated_events_are_kept_once_in_their_order(acme: Diligent) -> None:
    """The first of several equal events counts."""
    events = ["search_completed", "cdd_state_changed", "search_completed", "alert_remediated", "cdd_state_changed"]
    kept = ["search_completed", "cdd_state_changed", "alert_remediated"]
    response = acme.create(events=events)
    assert response.json()["events"] == kept
    changed = acme.request("PATCH", response.json()["id"], {"events": events[::-1]})
    assert changed.json()["events"] == ["cdd_state_changed", "alert_remediated", "search_completed"]


@pytest.mark.decision("D16")
def test_unknown_fields_are_ignored(acme: Diligent) -> None:
    """A creation and an update with further fields succeed."""
    response = acme.create(id="mine", status="failing", has_secret=True, colour=None)
    assert response.status_code == 201
    assert response.json()["id"] != "mine"
    id_ = response.json()["id"]
    assert acme.request("PATCH", id_, {"id": "mine", "colour": 1}).json()["id"] == id_


def test_secret_is_kept_removed_or_replaced(acme: Diligent) -> None:
    """Omitted it stays, empty it is removed, a new one replaces it; no answer contains it."""
    id_ = acme.created(secret="first-secret")
    assert acme.request("PATCH", id_, {"is_active": True}).json()["has_secret"] is True
    assert secret_of(acme, id_) == "first-secret"
    response = acme.request("PATCH", id_, {"secret": "second-secret"})
    assert "secret" not in response.text.replace("has_secret", "")
    assert secret_of(acme, id_) == "second-secret"
    assert acme.request("PATCH", id_, {"secret": ""}).json()["has_secret"] is False
    assert acme.request("PATCH", id_, {"events": []}).json()["has_secret"] is False
    assert acme.request("PATCH", id_, {"secret": "third"}).json()["has_secret"] is True
    assert acme.create(secret="").json()["has_secret"] is False


@pytest.mark.decision("D31")
@pytest.mark.parametrize("secret", ["x", " spaces ", "ü" * 512, "line\nfeed", "\x00", "whsec_x", "a" * 512])
def test_any_text_is_a_secret(acme: Diligent, secret: str) -> None:
    """A secret has up to 512 characters of any kind and is kept as it is."""
    assert secret_of(acme, acme.created(secret=secret)) == secret


@pytest.mark.decision("D23", "D24")
def test_status_is_that_of_the_latest_attempt(acme: Diligent) -> None:
    """No attempt and a 2xx are active; another status and no answer are failing; one 2xx makes it active again."""
    id_ = acme.created()
    for last, status in (
        (DeliveryTotals(), "active"),
        (DeliveryTotals(1, 0, START_MS, 200), "active"),
        (DeliveryTotals(1, 0, START_MS, 500), "failing"),
        (DeliveryTotals(1, 1, START_MS, None), "failing"),
        (DeliveryTotals(2, 1, START_MS, 204), "active"),
        (DeliveryTotals(2, 1, START_MS, 302), "failing"),
        (DeliveryTotals(2, 1, START_MS, 100), "failing"),
    ):
        acme.api.deliveries.of[id_] = last
        shown = acme.request("GET", id_).json()
        assert (shown["status"], shown["last_delivery_status"]) == (status, last.last_status)
        assert (shown["last_delivery_at"] is None) == (last.last_at_ms is None)


@pytest.mark.decision("D25")
def test_last_delivery_at_has_milliseconds(acme: Diligent) -> None:
    """The time is in UTC with three digits and a Z."""
    id_ = acme.created()
    acme.api.deliveries.of[id_] = DeliveryTotals(1, 0, START_MS - 123, 200)
    assert acme.request("GET", id_).json()["last_delivery_at"] == "2026-01-19T10:30:00.000Z"


@pytest.mark.decision("D22.active")
def test_disabled_webhook_is_inactive_until_it_is_enabled(acme: Diligent) -> None:
    """Delivery disables it, an update enables it; until the next 2xx the last attempt was a failure."""
    id_ = acme.created()
    acme.api.deliveries.of[id_] = DeliveryTotals(0, 1, START_MS, 410)
    assert acme.request("GET", id_).json()["status"] == "failing"
    acme.api.subscriptions.disable(id_)
    shown = acme.request("GET", id_).json()
    assert (shown["is_active"], shown["status"]) == (False, "disabled")
    shown = acme.request("PATCH", id_, {"is_active": True}).json()
    assert (shown["is_active"], shown["status"]) == (True, "failing")
    acme.api.deliveries.of[id_] = DeliveryTotals(1, 1, START_MS + 1, 200)
    assert acme.request("GET", id_).json()["status"] == "active"


def test_inactive_webhook_is_disabled(acme: Diligent) -> None:
    """A webhook can be created inactive; its status is then disabled whatever its last attempt was."""
    id_ = acme.created(is_active=False)
    for totals in (DeliveryTotals(), DeliveryTotals(1, 0, START_MS, 200), DeliveryTotals(1, 0, START_MS, 500)):
        acme.api.deliveries.of[id_] = totals
        assert acme.request("GET", id_).json()["status"] == "disabled"
    assert acme.request("PATCH", id_, {"is_active": True}).json()["is_active"] is True


@pytest.mark.decision("D32")
def test_list_has_the_oldest_first(acme: Diligent) -> None:
    """All webhooks are in one answer, in the order of their creation."""
    ids = []
    for _ in range(10):
        acme.api.changes.now_ms += 1
        ids.append(acme.created())
    acme.api.subscriptions.found = dict(reversed(acme.api.subscriptions.found.items()))
    assert [one["id"] for one in acme.request("GET").json()] == ids


@pytest.mark.decision("D34")
def test_there_are_no_test_deliveries_and_no_delivery_log(acme: Diligent) -> None:
    """The documents have neither: `test` is an id like any other, and a webhook has no events."""
    id_ = acme.created()
    assert acme.request("POST", "test", {"webhook_url": URL}).status_code == 405
    assert acme.request("GET", "test").status_code == 404
    assert acme.request("GET", f"{id_}/events").status_code == 404


def test_second_delete_finds_nothing(acme: Diligent) -> None:
    """The first delete is answered with 204 and no body."""
    id_ = acme.created()
    first, second = acme.request("DELETE", id_), acme.request("DELETE", id_)
    assert (first.status_code, first.content) == (204, b"")
    assert "Content-Type" not in first.headers
    assert second.status_code == 404


def test_webhook_of_a_command_is_shown_like_any_other(acme: Diligent) -> None:
    """An operator's id is no UUID, and `*` stands for the seven types of the document."""
    acme.api.add(replace(DRAFT, event_types=("*",)))
    shown = acme.request("GET", "hook").json()
    assert shown["events"] == list(acme.api.senders["diligent"].subscribable)


def test_empty_update_returns_the_webhook(acme: Diligent) -> None:
    """An update with `{}` writes nothing and returns the present object."""
    id_ = acme.created(events=["search_completed"])
    assert acme.request("PATCH", id_, {}).content == acme.request("GET", id_).content
    assert len(acme.api.changes.written) == 1


def test_update_without_the_ledger_says_what_it_lacks(acme: Diligent) -> None:
    """The change is made. A header names the fields that are unknown, which would otherwise mean: no delivery."""
    id_ = acme.created()
    acme.api.deliveries.is_away = True
    response = acme.request("PATCH", id_, {"events": ["search_completed"]})
    assert (response.status_code, response.json()["events"]) == (200, ["search_completed"])
    assert response.headers["X-Signpost-Unavailable"] == "last_delivery_at, last_delivery_status"
    acme.api.deliveries.is_away = False
    assert "X-Signpost-Unavailable" not in acme.request("PATCH", id_, {"events": []}).headers

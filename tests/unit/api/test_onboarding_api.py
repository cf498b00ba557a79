"""The Onboarding API: what each request does, and what it answers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest

from producers.api.ports import DeliveryTotals
from producers.subscriptions.changes import Apply, Change, Delete
from schemas.catalog.errors import UnknownSubscription
from schemas.senders.sender import load_senders
from schemas.subscriptions.rules import Draft
from tests.support.api_ports import START_MS, MemoryApi, Onboarding

SENDER = load_senders()["onboarding"]
NOBODY = "99999999-9999-4999-8999-999999999999"
URL = "https://hooks.example.com/s"
DRAFT = Draft(id=NOBODY, sender="onboarding", customer_id="acme", url=URL, event_types=("all",))


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def acme(api: MemoryApi) -> Onboarding:
    return Onboarding(api)


def errors_of(response: Any) -> dict[str, list[str]]:
    """The problems of a refused request by field."""
    assert response.status_code == 400, response.text
    body = response.json()
    assert list(body) == ["error", "code", "request_id", "errors"]
    assert body["code"] == "validation_error"
    errors: dict[str, list[str]] = body["errors"]
    return errors


@pytest.mark.decision("O24.answer")
def test_new_webhook_has_the_documented_defaults(acme: Onboarding) -> None:
    """A webhook that was created with the required fields alone is active and has sent nothing."""
    id_ = acme.created()
    assert acme.request("GET", id_).json() == {
        "id": id_,
        "event_type": "screening.completed",
        "webhook_url": URL,
        "is_active": True,
        "description": "",
        "filters": {},
        "created_at": "2026-01-19T10:30:00.123000+00:00",
        "updated_at": "2026-01-19T10:30:00.123000+00:00",
        "stats": {"total_deliveries": 0, "successful_deliveries": 0, "failed_deliveries": 0},
        "last_triggered_at": None,
    }


@pytest.mark.parametrize("event_type", ["all", *SENDER.subscribable])
def test_each_documented_type_can_be_subscribed_to(acme: Onboarding, event_type: str) -> None:
    """All 32 types, `all` and `test` are accepted and returned."""
    response = acme.create(event_type=event_type)
    assert response.status_code == 201
    assert response.json()["event_type"] == event_type


@pytest.mark.decision("O18")
def test_same_request_creates_another_webhook(acme: Onboarding) -> None:
    """Creating the same webhook twice gives two ids and two secrets."""
    first, second = acme.create().json(), acme.create().json()
    assert first["id"] != second["id"]
    assert first["secret_key"] != second["secret_key"]
    assert UUID(second["id"]).version == 4
    assert len(acme.request("GET").json()["webhooks"]) == 2


def test_secret_is_in_the_answer_to_the_creation_only(acme: Onboarding) -> None:
    """Neither get, list nor update contain the secret, which is `whsec_` and 52 characters."""
    created = acme.create().json()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{52}", created["secret_key"])
    for response in (
        acme.request("GET"),
        acme.request("GET", created["id"]),
        acme.request("PATCH", created["id"], {"description": "new"}),
        acme.test(),
        acme.request("DELETE", created["id"]),
    ):
        assert created["secret_key"] not in response.text
        assert "whsec_" not in response.text


@pytest.mark.decision("O20")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_type", "case.opned"),
        ("event_type", "case.*"),
        ("event_type", "*"),
        ("event_type", ""),
        ("event_type", ["case.opened"]),
        ("event_type", None),
        ("webhook_url", "http://hooks.example.com/"),
        ("webhook_url", "https://127.0.0.1/"),
        ("webhook_url", "https://192.168.0.7/"),
        ("webhook_url", "https://localhost/"),
        ("webhook_url", "https://user:password@hooks.example.com/"),
        ("webhook_url", "https://hooks.example.com/#x"),
        ("webhook_url", "https://hooks.example.com/" + "a" * 3_000),
        ("webhook_url", "ftp://hooks.example.com/"),
        ("webhook_url", ""),
        ("webhook_url", 7),
        ("webhook_url", None),
        ("description", "a" * 1_025),
        ("description", "two\nlines"),
        ("description", False),
        ("description", None),
        ("filters", []),
        ("filters", "{}"),
        ("filters", None),
        ("filters", {"a": "b" * 20_000}),
    ],
)
def test_wrong_value_is_refused_with_its_field(acme: Onboarding, field: str, value: Any) -> None:
    """A creation with one wrong value names that field alone, and creates nothing."""
    assert list(errors_of(acme.create(**{field: value}))) == [field]
    assert acme.api.changes.written == []


@pytest.mark.decision("O20")
def test_all_problems_of_a_request_are_reported_together(acme: Onboarding) -> None:
    """Every wrong field is in one answer, also the missing ones."""
    wrong = {"description": 1, "filters": 2, "event_type": "x"}
    errors = errors_of(acme.request("POST", None, wrong))
    assert errors == {
        "event_type": ["there is no 'x'"],
        "webhook_url": ["is required"],
        "description": ["expected a string, got a number"],
        "filters": ["expected an object, got a number"],
    }


def test_misspelt_type_gets_a_suggestion(acme: Onboarding) -> None:
    """The message names the most similar type."""
    assert errors_of(acme.create(event_type="case.opned")) == {
        "event_type": ["there is no 'case.opned'; did you mean case.opened?"]
    }


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "https://hooks.example.com:8443/", "https://10.0.0.1/"])
def test_messages_about_urls_name_no_setting(acme: Onboarding, url: str) -> None:
    """A customer reads which URL is allowed, without the names of settings that only operators have."""
    (message,) = errors_of(acme.create(webhook_url=url))["webhook_url"]
    assert message.startswith(("must ", "names "))
    assert "allow_" not in message
    assert "setting" not in message


@pytest.mark.decision("O21")
def test_unknown_fields_are_ignored(acme: Onboarding) -> None:
    """A creation and an update with further fields succeed; the server chooses id and secret."""
    response = acme.create(id="mine", secret_key="whsec_mine", is_active=False, colour="red")
    assert response.status_code == 201
    assert "mine" not in response.text
    id_ = response.json()["id"]
    assert acme.request("PATCH", id_, {"colour": "red", "stats": None}).status_code == 200
    assert acme.request("GET", id_).json()["is_active"] is True


@pytest.mark.decision("O21")
def test_type_and_secret_cannot_be_updated(acme: Onboarding) -> None:
    """`event_type` and `secret_key` in an update are refused, even with the present value, and nothing changes."""
    id_ = acme.created()
    wrong = {"event_type": "screening.completed", "secret_key": "whsec_x", "description": "new"}
    assert list(errors_of(acme.request("PATCH", id_, wrong))) == ["event_type", "secret_key"]
    assert acme.request("GET", id_).json()["description"] == ""


@pytest.mark.decision("O22")
def test_empty_update_changes_nothing(acme: Onboarding) -> None:
    """An update with `{}` succeeds and writes nothing."""
    id_ = acme.created()
    before = acme.request("GET", id_).json()
    acme.api.changes.now_ms += 60_000
    response = acme.request("PATCH", id_, {})
    assert (response.status_code, response.json()) == (200, {"message": "Webhook updated", "id": id_})
    assert acme.request("GET", id_).json() == before
    assert len(acme.api.changes.written) == 1


@pytest.mark.decision("O23")
def test_updated_at_is_the_time_of_the_last_update(acme: Onboarding) -> None:
    """An update sets it, a delivery does not, and the list does not have it."""
    id_ = acme.created()
    acme.api.changes.now_ms += 1_500
    acme.request("PATCH", id_, {"description": "new"})
    acme.api.deliveries.of[id_] = DeliveryTotals(1, 0, START_MS + 9_000, 200)
    shown = acme.request("GET", id_).json()
    assert shown["created_at"] == "2026-01-19T10:30:00.123000+00:00"
    assert shown["updated_at"] == "2026-01-19T10:30:01.623000+00:00"
    (entry,) = acme.request("GET").json()["webhooks"]
    assert list(shown) == [
        *("id", "event_type", "webhook_url", "is_active", "description", "filters", "created_at", "updated_at"),
        *("stats", "last_triggered_at"),
    ]
    assert list(entry) == [key for key in shown if key != "updated_at"]


@pytest.mark.decision("O22", "O23")
def test_update_with_present_values_sets_the_time_of_update(acme: Onboarding) -> None:
    """An update that names a field sets `updated_at`, even to present values; one without a known field does not."""
    id_ = acme.created(description="present")
    created = acme.request("GET", id_).json()
    present = {name: created[name] for name in ("webhook_url", "is_active", "description", "filters")}
    for number, fields in enumerate([*({name: value} for name, value in present.items()), present], 1):
        acme.api.changes.now_ms += 1_000
        response = acme.request("PATCH", id_, fields)
        assert (response.status_code, response.json()) == (200, {"message": "Webhook updated", "id": id_})
        for nothing in ({}, {"colour": "red"}):
            acme.api.changes.now_ms += 1
            assert acme.request("PATCH", id_, nothing).status_code == 200
            acme.api.changes.now_ms -= 1
        updated_at = f"2026-01-19T10:30:0{number}.123000+00:00"
        assert acme.request("GET", id_).json() == {**created, "updated_at": updated_at}


def test_update_changes_the_fields_that_it_has(acme: Onboarding) -> None:
    """URL, description, filters and state change one by one; the others stay."""
    id_ = acme.created()
    for field, value in {
        "webhook_url": "https://other.example.com/",
        "description": "new",
        "filters": {"country": "GB"},
        "is_active": False,
    }.items():
        before = acme.request("GET", id_).json()
        assert acme.request("PATCH", id_, {field: value}).status_code == 200
        after = acme.request("GET", id_).json()
        assert {key for key in after if after[key] != before[key]} == {field}
        assert after[field] == value


def test_filters_are_returned_as_they_were_given(acme: Onboarding) -> None:
    """Numbers keep their digits and keys their order."""
    text = '{"b":1.10,"a":123456789012345678901234567890,"c":[1e400,{"d":null}]}'
    content = f'{{"event_type": "all", "webhook_url": "{URL}", "filters": {text}}}'
    id_ = acme.request("POST", content=content).json()["id"]
    assert f'"filters":{text},"created_at"' in acme.request("GET", id_).text


@pytest.mark.decision("O25")
def test_list_has_the_newest_first_without_paging(acme: Onboarding) -> None:
    """All webhooks are in one answer, in descending order of their creation, whatever changed later."""
    ids = []
    for _ in range(120):
        acme.api.changes.now_ms += 1
        ids.append(acme.created())
    acme.request("PATCH", ids[3], {"description": "changed"})
    assert [one["id"] for one in acme.request("GET").json()["webhooks"]] == ids[::-1]


@pytest.mark.decision("O26")
def test_stats_count_delivered_and_dead_runs(acme: Onboarding) -> None:
    """The total is the sum of the runs that ended delivered and dead, without cancelled ones and attempts."""
    id_ = acme.created()
    acme.api.deliveries.of[id_] = DeliveryTotals(delivered=125, dead=2, last_at_ms=START_MS, last_status=None)
    assert acme.request("GET", id_).json()["stats"] == {
        "total_deliveries": 127,
        "successful_deliveries": 125,
        "failed_deliveries": 2,
    }


@pytest.mark.decision("O27")
@pytest.mark.parametrize("status", [200, 500, None])
def test_last_triggered_at_is_the_latest_attempt(acme: Onboarding, status: int | None) -> None:
    """Its result does not matter."""
    id_ = acme.created()
    acme.api.deliveries.of[id_] = DeliveryTotals(last_at_ms=START_MS + 7, last_status=status)
    assert acme.request("GET", id_).json()["last_triggered_at"] == "2026-01-19T10:30:00.130000+00:00"


@pytest.mark.decision("O34.active")
def test_disabled_webhook_is_inactive_until_it_is_enabled(acme: Onboarding) -> None:
    """After delivery disabled it, `is_active` reads false; other updates leave it so, and `true` enables it."""
    id_ = acme.created()
    acme.api.subscriptions.disable(id_)
    assert acme.request("GET", id_).json()["is_active"] is False
    acme.request("PATCH", id_, {"description": "new"})
    assert acme.request("GET", id_).json()["is_active"] is False
    assert acme.request("PATCH", id_, {"is_active": True}).status_code == 200
    assert acme.request("GET", id_).json()["is_active"] is True


@pytest.mark.decision("O29.repeated")
def test_second_delete_finds_nothing(acme: Onboarding) -> None:
    """A deleted webhook can neither be read, changed nor deleted again."""
    id_ = acme.created()
    assert acme.request("DELETE", id_).json() == {"message": "Webhook deleted successfully"}
    for method in ("DELETE", "GET", "PATCH"):
        assert acme.request(method, id_, {} if method == "PATCH" else None).status_code == 404
    assert acme.request("GET").json() == {"webhooks": []}


def test_delete_that_another_request_overtakes_finds_nothing(acme: Onboarding) -> None:
    """If the table still has a webhook that another process deleted, the answer is 404 as well."""
    id_ = acme.created()
    acme.api.changes.error = UnknownSubscription(f"subscription {id_}: does not exist")
    assert acme.request("DELETE", id_).status_code == 404
    assert acme.request("PATCH", id_, {"is_active": False}).status_code == 404


@pytest.mark.decision("O30")
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/webhooks",
        "/api/v1/webhooks/{id}",
        "/api/v1/webhooks/test",
        "/api/v1/webhooks/hook-1/",
        "/api/v1/webhooks/{ID}/",
        "/api/v1/webhooks/{{{id}}}/",
        "/api/v1/webhooks/urn:uuid:{id}/",
        "/api/v1/webhooks/{hex}/",
        "/api/v1/webhooks/%20{id}/",
        "/api/v1/webhooks/{id}%0A/",
        "/api/v1/webhooks/{id}/%0A",
        "/api/v1/webhooks/%2e%2e/",
        "/api/v1/webhooks//",
        "/api/v1/webhooks/{id}//",
        "//api/v1/webhooks/",
        "/API/v1/webhooks/",
        "/api/v2/webhooks/",
        "/api/",
    ],
)
def test_other_spelling_of_a_path_is_not_found(acme: Onboarding, path: str) -> None:
    """Neither a path without its final slash nor an odd spelling of an id is found or redirected."""
    id_ = acme.created()
    path = path.format(id=id_, ID=id_.upper().replace("0", "A", 1), hex=id_.replace("-", ""))
    for method in ("GET", "PATCH", "DELETE", "POST"):
        response = acme.api.request(method, path, headers=acme.headers, json={})
        assert response.status_code in ({404, 405} if path.endswith("hook-1/") or method == "POST" else {404})
        if response.status_code == 404 and path.startswith("/api/"):
            assert response.json()["code"] == "not_found"
    assert list(acme.api.subscriptions.found) == [id_]


@pytest.mark.decision("O30")
def test_upper_case_id_is_not_found(acme: Onboarding) -> None:
    """An id has one spelling: the one of the answers."""
    acme.api.add(replace(DRAFT, id="f67f165d-0d1e-4eb7-81e6-3494a260dcd4"))
    assert acme.request("GET", "f67f165d-0d1e-4eb7-81e6-3494a260dcd4").status_code == 200
    assert acme.request("GET", "F67F165D-0D1E-4EB7-81E6-3494A260DCD4").status_code == 404


@pytest.mark.decision("O30")
def test_subscription_whose_id_is_no_uuid_has_no_path(acme: Onboarding) -> None:
    """A command can write any id. The list shows it, and only commands can change it."""
    acme.api.add(replace(DRAFT, id="hook-1"))
    assert [one["id"] for one in acme.request("GET").json()["webhooks"]] == ["hook-1"]
    for method in ("GET", "PATCH", "DELETE"):
        assert acme.request(method, "hook-1", {} if method == "PATCH" else None).status_code == 404
    assert list(acme.api.subscriptions.found) == ["hook-1"]


@pytest.mark.decision("O31")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "PUT", "OPTIONS"])
def test_test_is_no_id(acme: Onboarding, method: str) -> None:
    """Other methods than POST on the path of the test operation are not allowed, even if a webhook had that id."""
    acme.api.add(replace(DRAFT, id="test"))
    response = acme.request(method, "test")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert "test" in acme.api.subscriptions.found


@pytest.mark.parametrize(
    ("event_types", "shown"), [(("*",), "all"), (("all",), "all"), (("case.opened", "case.resolved"),) * 2]
)
def test_records_of_other_programs_can_be_shown(acme: Onboarding, event_types: Any, shown: Any) -> None:
    """Commands of older versions wrote patterns and lists, and another program can write filters that are no JSON."""
    acme.api.add(DRAFT)
    record = replace(acme.api.subscriptions.found[NOBODY], event_types=event_types, filters='{"a":')
    acme.api.subscriptions.found[NOBODY] = record
    (entry,) = acme.request("GET").json()["webhooks"]
    assert entry["event_type"] == (shown if isinstance(shown, str) else ", ".join(shown))
    assert entry["filters"] == {}


def test_update_is_not_refused_for_a_field_that_it_does_not_have(acme: Onboarding) -> None:
    """A webhook whose URL is no longer allowed can be switched off."""
    acme.api.add(replace(DRAFT, url="http://old.example.com/", description="two\nlines"))
    assert acme.request("PATCH", NOBODY, {"is_active": False}).status_code == 200
    assert acme.request("GET", NOBODY).json()["is_active"] is False


def test_commands_name_who_made_them(acme: Onboarding) -> None:
    """The writer gets the key's owner and the id of the request, which is in the answer."""
    response = acme.create()
    id_ = response.json()["id"]
    assert acme.request("PATCH", id_, {"is_active": False}).status_code == 200
    assert acme.request("DELETE", id_).status_code == 200
    written = acme.api.changes.written
    assert [type(one.command) for one in written] == [Apply, Change, Delete]
    assert {one.by.key_id for one in written} == {"id-of-0"}
    assert written[0].request_id == response.headers["X-Request-Id"]


@pytest.mark.decision("O36")
def test_test_event_has_the_envelope(acme: Onboarding) -> None:
    """The body is the envelope of every event, with the type `test`."""
    assert acme.test().status_code == 200
    (sent,) = acme.api.tests.sent
    assert sent.body == orjson.dumps(
        {
            "event_id": sent.event_id,
            "event_type": "test",
            "created_at": "2026-01-19T10:30:00.123000+00:00",
            "data": {"message": "This is a test event"},
        }
    )
    assert (sent.sender, sent.customer_id, sent.key_id, sent.url) == ("onboarding", "acme", "id-of-0", URL)


@pytest.mark.decision("O37.choice")
def test_newest_active_webhook_with_the_url_signs_a_test(api: MemoryApi, acme: Onboarding) -> None:
    """Inactive, disabled and other customers' webhooks, and those with almost the same URL, do not sign."""

    def signing() -> str | None:
        assert acme.test().status_code == 200
        subscription = api.tests.sent[-1].subscription
        return None if subscription is None else subscription.id

    Onboarding(api, "globex").created()
    api.add(replace(DRAFT, id="hook", sender="diligent", event_types=()))
    acme.created(webhook_url=f"{URL}/")
    acme.created(webhook_url=URL.upper().replace("HTTPS", "https"))
    assert signing() is None
    ids = []
    for _ in range(3):
        api.changes.now_ms += 1
        ids.append(acme.created())
    assert signing() == ids[2]
    acme.request("PATCH", ids[2], {"is_active": False})
    assert signing() == ids[1]
    api.subscriptions.disable(ids[1])
    assert signing() == ids[0]
    acme.request("DELETE", ids[0])
    assert signing() is None


@pytest.mark.decision("O39", "O40")
@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (200, "", None),
        (204, "", None),
        (302, "", "HTTP 302: Found"),
        (404, "", "HTTP 404: Not Found"),
        (500, "", "HTTP 500: Internal Server Error"),
        (599, "", "HTTP 599: Unknown Status"),
        (None, "connection timed out", "connection timed out"),
    ],
)
def test_answer_to_a_test_says_how_it_ended(
    acme: Onboarding, status: int | None, reason: str, message: str | None
) -> None:
    """Any 2xx is a success; otherwise 502 with the status and its phrase, or with the reason if there was no answer."""
    acme.api.tests.results[URL] = (status, reason)
    acme.api.tests.next_log_id = 4822
    response = acme.test()
    failed = f"Test webhook delivery failed: {message}"
    assert response.status_code == (200 if message is None else 502)
    assert list(response.json().items()) == [
        ("success", message is None),
        ("message", "Test webhook delivered successfully" if message is None else failed),
        ("log_id", 4822),
        ("http_status_code", status),
    ]
    assert len(acme.api.tests.sent) == 1


@pytest.mark.decision("O41")
@pytest.mark.parametrize("url", ["http://hooks.example.com/", "https://10.1.2.3/", "", None, 1, ["https://x.example/"]])
def test_invalid_url_of_a_test_sends_nothing(acme: Onboarding, url: Any) -> None:
    """The answer is 400 with the field, and no log id is used."""
    response = acme.test(url)
    assert list(errors_of(response)) == ["webhook_url"]
    assert "log_id" not in response.json()
    assert (acme.api.tests.sent, acme.api.tests.next_log_id) == ([], 1)


def test_test_without_url_is_refused(acme: Onboarding) -> None:
    """`webhook_url` is required."""
    assert errors_of(acme.request("POST", "test", {})) == {"webhook_url": ["is required"]}

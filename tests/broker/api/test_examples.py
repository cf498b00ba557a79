"""The documented requests of both APIs have the documented answers, byte for byte, in a real API process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import pytest

from consumers.ledger.rows import LedgerBatch, Totals
from consumers.ledger.sqlite import SqliteWriter
from producers.subscriptions.changes import Apply
from schemas.subscriptions.rules import Draft, Given
from tests.support.api import ApiClient, client_of, key_of
from tests.support.served_api import APIS, ServedApi

EXAMPLES = Path(__file__).parents[2] / "contracts" / "data" / "examples"
# The examples of each API, in an order in which each finds the webhooks as its document shows them.
ORDER = {
    "onboarding": ("list", "get", "test_success", "test_failure", "update", "delete", "create"),
    "diligent": ("update", "delete", "create"),
}
CASES = [(sender, name) for sender in APIS for name in ORDER[sender]]
# What the server generates, by example and field: the form of the value, which the value of the document replaces. All
# other values are those of the document: the webhooks have its ids and times, the ledger has its deliveries.
GENERATED: Mapping[str, Mapping[str, bytes]] = {
    "create": {
        "id": rb'"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"',
        "secret_key": rb'"whsec_[A-Za-z0-9+/]{52}"',
    },
    "test_success": {"log_id": rb"[1-9][0-9]*"},
    "test_failure": {"log_id": rb"[1-9][0-9]*"},
}
DOCUMENTED, NEWCOMER = "documented", "newcomer"
FIRST = "f67f165d-0d1e-4eb7-81e6-3494a260dcd4"
SECOND = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
# Webhooks of the customer `documented`, and when they were created: 2026-01-18T14:20:00.123Z, 2026-01-19T10:30:00.123Z.
WEBHOOKS = [
    (
        Draft(
            id=SECOND,
            sender="onboarding",
            customer_id=DOCUMENTED,
            url="https://api.yourcompany.com/webhooks/cases",
            event_types=("case.resolved",),
            description="Case resolution notifications",
        ),
        1_768_746_000_123,
    ),
    (
        Draft(
            id=FIRST,
            sender="onboarding",
            customer_id=DOCUMENTED,
            url="https://api.yourcompany.com/webhooks/screening",
            event_types=("screening.completed",),
            description="Production screening webhook",
        ),
        1_768_818_600_123,
    ),
    (
        Draft(
            id="df89eb16-4c6a-439f-b668-7cca0cd786fa",
            sender="diligent",
            customer_id=DOCUMENTED,
            url="https://your-server.com/webhooks",
            event_types=("cdd_state_changed",),
            secret=Given("your-secret"),
        ),
        1_768_818_600_123,
    ),
]
# Their deliveries. The latest attempts were at 2026-01-21T16:45:22.543Z and 2026-01-22T08:15:30.987Z.
TOTALS = {
    SECOND: Totals(DOCUMENTED, "onboarding", delivered=43, attempts=43, last_at_ms=1_769_013_922_543, last_status=200),
    FIRST: Totals(
        DOCUMENTED, "onboarding", delivered=125, dead=2, attempts=145, last_at_ms=1_769_069_730_987, last_status=200
    ),
}


@pytest.fixture(scope="module")
def clients(api: ServedApi) -> Mapping[tuple[str, str], ApiClient]:
    """Clients by product and customer. One customer has the webhooks of the documents, the other has none."""
    for draft, created_at_ms in WEBHOOKS:
        api.pipeline.write(Apply(draft), now_ms=created_at_ms)
    with closing(SqliteWriter(api.database)) as ledger:
        ledger.write(LedgerBatch([], [], [], [], [], {}, TOTALS, {}))
    return {
        (sender, customer): client_of(api.role, key_of(api.pipeline, sender, customer).text, sender)
        for sender in APIS
        for customer in (DOCUMENTED, NEWCOMER)
    }


def documented(sender: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request and the response of an example.

    Signpost keeps times in milliseconds. The last three digits of the document's microseconds are therefore 0 here.
    """
    text = (EXAMPLES / sender / "api" / f"{name}.json").read_text(encoding="utf-8")
    document = json.loads(re.sub(r"(\.\d{3})\d{3}\+00:00", r"\g<1>000+00:00", text))
    return document["request"], document["response"]


def with_documented_values(body: bytes, name: str, document: Mapping[str, Any]) -> bytes:
    """Return an answer with the document's values in place of those that the server generated."""
    for field, form in GENERATED.get(name, {}).items():
        if field in document:
            value = b'"%s":%s' % (field.encode(), orjson.dumps(document[field]))
            body, count = re.subn(b'"%s":%s' % (field.encode(), form), lambda _, value=value: value, body)
            assert count == 1, f"{field} is not what the server generates: {body!r}"
    return body


def test_all_documented_examples_are_there() -> None:
    """The Onboarding API documents seven examples, Diligent three, and each of them is a case here."""
    assert {sender: len(names) for sender, names in ORDER.items()} == {"onboarding": 7, "diligent": 3}
    for sender, names in ORDER.items():
        assert {file.stem for file in EXAMPLES.glob(f"{sender}/api/*.json")} == set(names)


@pytest.mark.decision("D7", "D8", "D9", "O24.answer", "O40")
@pytest.mark.parametrize(("sender", "name"), CASES, ids=lambda value: value)
def test_documented_request_has_the_documented_answer(
    clients: Mapping[tuple[str, str], ApiClient], sender: str, name: str
) -> None:
    """Status and body of each documented answer are those of the document, with its keys in its order."""
    request, expected = documented(sender, name)
    client = clients[sender, NEWCOMER if name == "create" else DOCUMENTED]
    content = None if request["body"] is None else orjson.dumps(request["body"])

    answer = client.request(request["method"], request["path"], content)

    assert (answer.status, answer.reason) == (expected["status"], HTTPStatus(expected["status"]).phrase)
    document = expected["body"]
    if document is None:
        assert answer.body == b""
        assert "content-type" not in answer.headers
    else:
        assert with_documented_values(answer.body, name, document) == orjson.dumps(document)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.body))

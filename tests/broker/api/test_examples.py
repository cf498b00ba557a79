"""The documented requests of both APIs have the documented answers, byte for byte."""

from __future__ import annotations

import json
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from producers.api.ports import DeliveryTotals
from schemas.subscriptions.rules import Draft, Given
from tests.support.api_ports import MemoryApi, new_ids

EXAMPLES = Path(__file__).parents[2] / "contracts" / "data" / "examples"
FILES = sorted(EXAMPLES.glob("*/api/*.json"))
FIRST = "f67f165d-0d1e-4eb7-81e6-3494a260dcd4"
SECOND = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
HOOK = "df89eb16-4c6a-439f-b668-7cca0cd786fa"
HEADERS = {"Authorization": "Bearer onboarding-key", "X-API-KEY": "diligent-key"}

FIRST_DRAFT = Draft(
    id=FIRST,
    sender="onboarding",
    customer_id="acme",
    url="https://api.yourcompany.com/webhooks/screening",
    event_types=("screening.completed",),
    description="Production screening webhook",
)
SECOND_DRAFT = Draft(
    id=SECOND,
    sender="onboarding",
    customer_id="acme",
    url="https://api.yourcompany.com/webhooks/cases",
    event_types=("case.resolved",),
    description="Case resolution notifications",
)
HOOK_DRAFT = Draft(
    id=HOOK,
    sender="diligent",
    customer_id="acme",
    url="https://your-server.com/webhooks",
    event_types=("cdd_state_changed",),
    secret=Given("your-secret"),
)


def documented_api(example: Path) -> MemoryApi:
    """An installation in the state that the document's examples show."""
    api = MemoryApi()
    api.keys.add("onboarding-key", "onboarding", "acme")
    api.keys.add("diligent-key", "diligent", "acme")
    if example.name == "create.json":
        api.changes.made_secret = "whsec_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q7R8S9T0U1V2W3X4Y5Z6"
        # The first id is the request's.
        new_id = FIRST if "onboarding" in str(example) else HOOK
        api.ids = chain(["00000000-0000-4000-8000-000000000000"], repeat(new_id))
        return api
    api.ids = new_ids()
    # 2026-01-18T14:20:00.123Z and 2026-01-21T16:45:22.543Z, then 2026-01-19T10:30:00.123Z and 2026-01-22T08:15:30.987Z.
    api.add(SECOND_DRAFT, 1_768_746_000_123, DeliveryTotals(43, 0, 1_769_013_922_543, 200))
    api.add(FIRST_DRAFT, 1_768_818_600_123, DeliveryTotals(125, 2, 1_769_069_730_987, 200))
    api.add(HOOK_DRAFT)
    api.tests.next_log_id = 4822 if "failure" in example.name else 4821
    api.tests.results["https://api.yourcompany.com/webhooks/missing"] = (404, "")
    return api


def documented(example: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request and the response of an example.

    Signpost keeps times in milliseconds. The last three digits of the document's microseconds are therefore 0 here.
    """
    text = example.read_text(encoding="utf-8")
    for micros in ("123456", "987654", "543210"):
        text = text.replace(f".{micros}+00:00", f".{micros[:3]}000+00:00")
    document = json.loads(text)
    return document["request"], document["response"]


def answered(example: Path) -> httpx.Response:
    request, _ = documented(example)
    content = b"" if request["body"] is None else orjson.dumps(request["body"])
    return documented_api(example).request(request["method"], request["path"], content=content, headers=HEADERS)


def test_all_documented_examples_are_there() -> None:
    """The Onboarding API documents seven examples, Diligent three."""
    assert len([file for file in FILES if "onboarding" in str(file)]) == 7
    assert len([file for file in FILES if "diligent" in str(file)]) == 3


@pytest.mark.decision("D7", "D8", "D9", "O24.answer", "O40")
@pytest.mark.parametrize("example", FILES, ids=lambda file: f"{file.parts[-3]}-{file.stem}")
def test_documented_request_has_the_documented_answer(example: Path) -> None:
    """Status and body of each documented answer are those of the document, with its keys in its order."""
    _, expected = documented(example)
    response = answered(example)
    assert response.status_code == expected["status"]
    assert response.content == (b"" if expected["body"] is None else orjson.dumps(expected["body"]))
    assert response.headers.get("Content-Type") == (None if expected["body"] is None else "application/json")

"""Clients that no one here wrote, against an API process: httpx, requests, and schemathesis with both documents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from deploy.reference.folder import documents_of
from schemas.senders.sender import load_senders
from tests.support.management import run_python, run_shell, run_typescript
from tests.support.parts import need
from tests.support.served_api import APIS, ServedApi

SUPPORT = Path(__file__).parents[2] / "support"
# 502 of this operation is a documented answer, not an error of the API.
CONFIG = """
[[operations]]
include-operation-id = "testWebhook"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 502]
"""


def headers_of(api: ServedApi, sender: str) -> dict[str, str]:
    """Return the header with the key of a product."""
    key = api.keys[sender]
    return {"Authorization": f"Bearer {key}"} if sender == "onboarding" else {"X-API-KEY": key}


@pytest.fixture(params=["httpx", "requests"])
def session(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A session of a library that applications use. Both have the same methods."""
    made: Any = httpx.Client(timeout=30) if request.param == "httpx" else requests.Session()
    with made:
        yield made


def test_session_manages_onboarding_webhooks(api: ServedApi, session: Any) -> None:
    """A session creates, lists, reads, changes, tests and deletes a webhook over one connection."""
    session.headers.update(headers_of(api, "onboarding"))
    base = f"{api.url}/api/v1/webhooks/"
    wanted = {
        "event_type": "screening.completed",
        "webhook_url": "https://api.yourcompany.com/webhooks/screening",
        "description": "Production screening webhook",
    }
    created = session.post(base, json=wanted)
    assert created.status_code == 201
    made = created.json()
    assert list(made) == ["id", "event_type", "webhook_url", "secret_key", "message"]
    url = f"{base}{made['id']}/"
    assert made["id"] in [one["id"] for one in session.get(base).json()["webhooks"]]
    shown = session.get(url).json()
    assert shown["description"] == wanted["description"]
    assert (shown["is_active"], shown["filters"], shown["last_triggered_at"]) == (True, {}, None)
    changed = session.patch(url, json={"is_active": False})
    assert changed.json() == {"message": "Webhook updated", "id": made["id"]}
    assert session.get(url).json()["is_active"] is False
    tested = session.post(f"{base}test/", json={"webhook_url": wanted["webhook_url"]})
    assert (tested.status_code, tested.json()["http_status_code"]) == (200, 200)
    unknown = session.post(f"{base}test/", json={"webhook_url": "https://hooks.example.com/"})
    assert (unknown.status_code, unknown.json()["http_status_code"]) == (502, None)
    assert session.delete(url).json() == {"message": "Webhook deleted successfully"}
    assert session.get(url).status_code == 404
    assert session.get(base.rstrip("/")).status_code == 404  # no redirect (O30)


def test_session_manages_diligent_webhooks(api: ServedApi, session: Any) -> None:
    """A session creates, lists, reads, changes and deletes a webhook over one connection."""
    session.headers.update(headers_of(api, "diligent"))
    base = f"{api.url}/webhooks"
    wanted = {
        "webhook_url": "https://your-server.com/webhooks",
        "is_active": True,
        "secret": "your-secret",
        "events": ["cdd_state_changed", "alert_remediated"],
    }
    created = session.post(base, json=wanted)
    assert created.status_code == 201
    made = created.json()
    assert "your-secret" not in created.text
    assert made == {
        "id": made["id"],
        "webhook_url": wanted["webhook_url"],
        "is_active": True,
        "has_secret": True,
        "status": "active",
        "last_delivery_at": None,
        "last_delivery_status": None,
        "events": wanted["events"],
    }
    url = f"{base}/{made['id']}"
    assert made in session.get(base).json()
    assert session.get(url).json() == made
    changed = session.patch(url, json={"events": ["search_completed"], "secret": ""}).json()
    assert changed == made | {"has_secret": False, "events": ["search_completed"]}
    deleted = session.delete(url)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert session.get(url).status_code == 404


@pytest.mark.parametrize(
    ("path", "media_type", "text"),
    [
        ("/docs", "text/html", "Onboarding API: webhooks"),
        ("/docs/onboarding", "text/html", "POST /api/v1/webhooks/test/"),
        ("/docs/diligent", "text/html", "PATCH /webhooks/{webhook_id}"),
        ("/docs/onboarding.json", "application/json", '"openapi": "3.1.0"'),
        ("/docs/diligent.json", "application/json", '"openapi": "3.1.0"'),
        ("/docs/style.css", "text/css", "prefers-color-scheme"),
    ],
)
def test_documents_are_served_without_a_key(api: ServedApi, path: str, media_type: str, text: str) -> None:
    """The documents are public, for GET and HEAD only. Their headers allow no scripts and nothing from elsewhere."""
    with httpx.Client(base_url=api.url, timeout=30) as client:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, media_type)
        assert text in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = client.head(path)
        assert (head.status_code, head.content, dict(head.headers) | {"date": ""}) == (
            200,
            b"",
            dict(answer.headers) | {"date": ""},
        )
        assert client.post(path, json={}).status_code == 405


def guide_of(sender: str) -> str:
    """Return the guide for receivers."""
    return dict(documents_of(load_senders()[sender], "topic", "1"))["guide.md"]


@pytest.mark.parametrize("sender", APIS)
def test_commands_of_guides_manage_webhooks(api: ServedApi, sender: str, tmp_path: Path) -> None:
    """The guide's curl commands create, list, show, update, test and delete a webhook."""
    need("curl")
    made, answers = run_shell(guide_of(sender), api, sender, tmp_path)
    listed, shown, updated, *tested, deleted = answers
    if sender == "onboarding":
        assert made["secret_key"].startswith("whsec_")
        assert made["id"] in [one["id"] for one in listed["webhooks"]]
        assert (shown["id"], shown["is_active"]) == (made["id"], True)
        assert updated == {"message": "Webhook updated", "id": made["id"]}
        assert [(one["success"], one["http_status_code"]) for one in tested] == [(False, None)]
        assert deleted == {"message": "Webhook deleted successfully"}
    else:
        assert made in listed
        assert shown == made
        assert updated == made | {"is_active": False, "status": "disabled"}
        assert (tested, deleted) == ([], None)


@pytest.mark.parametrize("sender", APIS)
@pytest.mark.parametrize(
    ("run", "parts"), [(run_python, ()), (run_typescript, ("node",))], ids=["python", "typescript"]
)
def test_code_of_guides_manages_webhooks(
    api: ServedApi, sender: str, run: Callable[..., Any], parts: tuple[str, ...], tmp_path: Path
) -> None:
    """The guide's code creates, lists, shows, updates, tests and deletes a webhook, and raises the API's errors."""
    need(*parts)
    made, listed, shown, updated, *tested, error = run(guide_of(sender), api, sender, tmp_path)
    assert shown in [{**one, "updated_at": shown["updated_at"]} if "updated_at" in shown else one for one in listed]
    assert (shown["id"], shown["is_active"], updated["is_active"]) == (made["id"], True, False)
    assert [(one["success"], one["http_status_code"]) for one in tested] == [(False, None)] * (sender == "onboarding")
    assert re.match("404: .*there is no webhook with this id", error)


def explore(api: ServedApi, sender: str, folder: Path, *options: str) -> None:
    """Let schemathesis test the API by the document that it serves, with all checks."""
    (folder / "schemathesis.toml").write_text(CONFIG if sender == "onboarding" else "", encoding="utf-8")
    (name, value), *_ = headers_of(api, sender).items()
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run"]
    command += [f"{api.url}/docs/{sender}.json", "--header", f"{name}: {value}", "--checks", "all", *options]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
        "PYTHONPATH": str(SUPPORT),
        "API_URL": api.url,
        "API_KEY": api.keys[sender],
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1_500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout, done.stdout


@pytest.mark.parametrize("sender", APIS)
def test_schemathesis_finds_no_violation(api: ServedApi, sender: str, tmp_path: Path) -> None:
    """A few requests of each kind, valid and invalid, and sequences of requests, are answered as documented."""
    # The API takes any printable characters in a description. The pattern of the document excludes ASCII's others.
    explore(api, sender, tmp_path, "--max-examples", "5", "--generation-codec", "ascii")


@pytest.mark.long
@pytest.mark.parametrize("sender", APIS)
def test_schemathesis_finds_no_violation_in_many_requests(api: ServedApi, sender: str, tmp_path: Path) -> None:
    """Many requests of each kind are answered as documented, also with any Unicode text."""
    explore(api, sender, tmp_path, "--max-examples", "50", "--generation-codec", "ascii")
    # A description may be refused for a character that is not printable.
    explore(api, sender, tmp_path, "--max-examples", "25", "--exclude-checks", "positive_data_acceptance")

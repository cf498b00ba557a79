"""`signpost endpoints`: the worst endpoints of all delivery processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, Hang, always, by_path
from deploy.dev.state import write_up
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import Role
from tests.support.tools import CommandResult, Commands
from tests.support.waiting import wait_until

EVENTS = 60
BEHAVIOURS = {"/fails": always(CannedResponse(500)), "/hangs": always(Hang()), "/gone": always(CannedResponse(410))}


def rows(signpost: Commands, address: str) -> dict[str, dict[str, Any]]:
    """Return the endpoints of a process, by subscription."""
    result = signpost("endpoints", "--at", address, "--json")
    assert result.code == 0, result.err
    return {row["subscription_id"]: row for row in json.loads(result.out)["endpoints"]}


def page_of(deliver: Role, query: str = "") -> dict[str, Any]:
    status, text = deliver.get(f"/endpoints{query}")
    assert status == 200, text
    page: dict[str, Any] = json.loads(text)
    return page


@pytest.fixture
def origin(receiver: Receiver) -> str:
    """The origin of a receiver that behaves differently on each path."""
    receiver.behave = by_path(BEHAVIOURS, always(CannedResponse()))
    return receiver.url.rstrip("/")


def test_worst_endpoints_are_shown_with_reasons(
    pipeline: Pipeline, origin: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Endpoints that fail, hang or are gone are shown with reasons. A healthy one is not."""
    router = pipeline.router()
    deliver = pipeline.deliver()
    addresses = {"router": router.address or "", "deliver": deliver.address or ""}
    signpost = Commands(pipeline.env(), monkeypatch)
    fails, hangs, gone, well = pipeline.subscribe(*(f"{origin}{path}" for path in (*BEHAVIOURS, "/well")))
    assert "all is well" in signpost("endpoints", "--at", addresses["deliver"]).out
    pipeline.publish_some(EVENTS)

    def three_shown() -> dict[str, dict[str, Any]]:
        found = rows(signpost, addresses["deliver"])
        assert found.keys() == {fails, hangs, gone}, found
        assert found[hangs]["limited_by"] == "no_response", found
        # The number of deferred jobs is an estimate.
        assert 0 < found[hangs]["waiting"] + found[hangs]["deferred"] <= EVENTS, found
        return found

    found = wait_until(three_shown, what="the three are shown, and the healthy one has no backlog")
    assert (found[fails]["last_status"], found[fails]["customer_id"]) == (500, pipeline.customer)
    assert found[fails]["failing_since"] is not None
    assert 0 < found[hangs]["in_flight"] <= 16
    assert (found[gone]["disabled"], found[gone]["last_status"]) == ("gone", 410)
    text = json.dumps(page_of(deliver))
    assert all(hidden not in text for hidden in (SECRET, "/fails", "http", well))
    assert len(page_of(deliver, "?limit=1")["endpoints"]) == 1
    assert deliver.get("/endpoints?limit=0")[0] == 400
    assert deliver.metric("signpost_delivery_disabled_subscriptions") == 1

    write_up(tmp_path, pipeline.bootstrap_servers, {}, {**addresses, "deliver-1": "http://127.0.0.1:1"})
    shown = signpost("--state", str(tmp_path), "endpoints", "--limit", "2")
    assert_is_table(shown, fails, hangs)
    assert "http://127.0.0.1:1 did not respond: " in shown.err
    refused = signpost("endpoints", "--at", addresses["router"])
    assert (refused.code, "no delivery process" in refused.err) == (1, True)


def assert_is_table(shown: CommandResult, *ids: str) -> None:
    """Check that the table has these endpoints, and the number of disabled ones."""
    assert shown.code == 0
    header, *lines = shown.out.splitlines()
    assert header.split() == ["SUBSCRIPTION", "HOST", "FAILING", "LAST", "FLIGHT", "WAITING", "DUE", "LIMITED", "BY"]
    assert {line.split()[0] for line in lines[:-1]} == set(ids)
    assert lines[-1] == "1 subscription disabled; `signpost subscriptions list` shows them"

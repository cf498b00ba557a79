"""The Grafana dashboards: current, importable, and made of queries that can return data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from consumers.service.metrics import SPECS
from deploy.reference.dashboards.__main__ import files
from deploy.reference.dashboards.panels import SELECTING
from tests.support.dashboards import FOLDER, Shown, queries
from tests.support.metric_names import labels_in, metrics_in, names_and_labels, recorded_in, unknown_in
from tests.support.prometheus import alert_rules, labels_of_recorded

DASHBOARDS: Final = sorted(FOLDER.glob("*.json"))
BOARDS: Final[Mapping[str, Any]] = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS}
QUERIES: Final = list(queries())
# The labels of the series that Prometheus makes of firing alerts.
OF_ALERTS: Final = {"alertname", "alertstate", "severity", "role", "topic", "sender", "reason"}


def panels(board: Any, *kinds: str) -> Iterator[Any]:
    """Yield the panels of these kinds."""
    yield from (panel for panel in board["panels"] if panel["type"] in kinds)


def test_dashboards_are_current() -> None:
    """The files of deploy/grafana/ match the output of `make reference`, and there are no others."""
    assert {file.name: file.read_text(encoding="utf-8") for file in DASHBOARDS} == files()


def test_there_is_a_dashboard_for_each_part() -> None:
    """Overview, senders, delivery, router, ledger and API have a dashboard."""
    assert [*BOARDS] == ["api", "delivery", "ledger", "overview", "router", "senders"]


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_can_be_imported(name: str) -> None:
    """Ids are unique, panels do not overlap, and each panel uses the selected data source."""
    board = BOARDS[name]
    assert board["uid"] not in {other["uid"] for title, other in BOARDS.items() if title != name}
    shown, taken = board["panels"], set()
    assert len({panel["id"] for panel in shown}) == len(shown)
    for panel in shown:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_has_the_variables(name: str) -> None:
    """Data source, cluster, namespace, job and instance can be selected; All also matches a missing label."""
    variables = BOARDS[name]["templating"]["list"]
    assert [variable["name"] for variable in variables][:5] == ["datasource", *SELECTING]
    assert all(variable["allValue"] == ".*" for variable in variables[1:])
    for variable in variables[1:]:
        query = variable["query"]["query"]
        assert metrics_in(query) <= names_and_labels().keys()


@pytest.mark.parametrize("shown", QUERIES, ids=str)
def test_queries_use_existing_metrics(shown: Shown) -> None:
    """A dashboard queries only metrics and recording rules that exist, by labels that they have."""
    query = shown.expression
    extra = OF_ALERTS if "ALERTS{" in query else set()
    assert metrics_in(query) or recorded_in(query) or extra
    assert unknown_in(query, labels_of_recorded(), names_and_labels()) - extra == set()


@pytest.mark.parametrize("shown", QUERIES, ids=str)
def test_queries_select_by_the_variables(shown: Shown) -> None:
    """Each query selects cluster and namespace, and those of processes also job and instance."""
    wanted = {"cluster", "namespace"} if not metrics_in(shown.expression) else {*SELECTING}
    assert wanted <= labels_in(shown.expression)
    assert all(f'{name}=~"${name}"' in shown.expression for name in wanted)


def test_every_metric_is_on_a_dashboard() -> None:
    """No metric is missing from the dashboards."""
    queried = " ".join(shown.expression for shown in QUERIES)
    assert [spec.name for spec in SPECS if spec.name not in queried] == []


def test_overview_says_in_words_what_is_wrong() -> None:
    """The first row has a sentence for every alert, one for none, and the state of each part in words."""
    overview = BOARDS["overview"]
    (table,) = panels(overview, "table")
    sentences = {
        value: option["text"]
        for override in table["fieldConfig"]["overrides"]
        for property_ in override["properties"]
        for mapping in property_["value"]
        for value, option in mapping["options"].items()
    }
    summaries = {name: rule["annotations"]["summary"] for name, rule in alert_rules().items()}
    assert summaries.items() <= sentences.items()
    assert sentences.keys() - summaries.keys() == {"none", "page", "ticket"}
    first = [panel for panel in panels(overview, "stat") if panel["gridPos"]["y"] < 12]
    assert [panel["title"] for panel in first] == [
        "Kafka",
        "Subscriptions",
        "Router",
        "Delivery",
        "Ledger",
        "Endpoints of customers",
    ]
    for panel in first:
        good, bad = panel["fieldConfig"]["defaults"]["mappings"]
        assert good["options"]["0"]["color"] == "green"
        assert bad["options"]["result"]["color"] == "red"

"""The alerts of deploy/prometheus/: promtool's unit tests, their metrics, their texts and their runbooks."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.metric_names import labels_in, metrics_in, names_and_labels, recorded_in, unknown_in
from tests.support.parts import need
from tests.support.prometheus import RULES, SPEED, alert_rules, labels_of_recorded, rule_groups, shortened
from tests.support.runbooks import Runbook, sections

HERE: Final = Path(__file__).parent
UNIT_TESTS: Final = sorted(HERE.glob("*.test.yml"))
ALERTS: Final = alert_rules()
EXPRESSIONS: Final = [rule["expr"] for group in rule_groups() for rule in group["rules"]]
RUNBOOKS: Final = "https://signpost.example/docs/operations.md#"
# The urgency of each group.
SEVERITIES: Final = {"signpost-pipeline": "page", "signpost-endpoints": "ticket"}
# What these metrics show depends on how endpoints respond, or on the limits of subscriptions.
OF_ENDPOINTS: Final = {
    "signpost_delivery_attempts_total",
    "signpost_delivery_rejected_total",
    "signpost_delivery_cancelled_total",
    "signpost_delivery_deferred_total",
    "signpost_delivery_open_circuits",
    "signpost_delivery_disabled_subscriptions",
    "signpost_delivery_slow_requests",
    "signpost_delivery_in_flight_requests",
    "signpost_delivery_resolving_requests",
    "signpost_delivery_jobs_waiting",
    "signpost_delivery_attempt_duration_seconds_bucket",
    "signpost_delivery_attempt_duration_seconds_sum",
    "signpost_delivery_attempt_duration_seconds_count",
}


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output; AssertionError if it fails."""
    need("promtool")
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unit_tests() -> list[dict[str, Any]]:
    """Return the tests of all files."""
    return [test for path in UNIT_TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]


def durations(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Return all durations of rules: of intervals, `for`, ranges and offsets."""
    found = []
    for group in groups:
        found.append(group["interval"])
        for rule in group["rules"]:
            found += [rule["for"]] if "for" in rule else []
            found += re.findall(r"(?<=\[)\d+[a-z]+(?=\])|(?<=offset )\d+[a-z]+", rule["expr"])
    return found


def milliseconds(duration: str) -> int:
    """Return a duration of the rules in ms."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[duration[-1]] * 1_000


def is_firing_between(test: dict[str, Any], alert: str) -> bool:
    """Return whether a test expects an alert first not to fire, then to fire, then to have resolved."""
    states = [bool(one["exp_alerts"]) for one in test["alert_rule_test"] if one["alertname"] == alert]
    return states == [False, True, False]


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yml")), ids=lambda path: path.name)
def test_rules_are_valid(path: Path) -> None:
    """promtool accepts each file of rules."""
    assert "SUCCESS" in promtool("check", "rules", path)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_alerts_fire_and_resolve(path: Path) -> None:
    """promtool's unit tests pass: each alert fires when it should, with its text, and resolves."""
    promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_unit_test(alert: str) -> None:
    """A unit test expects each alert not to fire, then to fire, then to have resolved."""
    assert any(is_firing_between(test, alert) for test in unit_tests())


def test_tests_with_shorter_windows_use_valid_rules(tmp_path: Path) -> None:
    """The transformation of the tests on a real Prometheus changes every duration, and promtool accepts the result."""
    groups = shortened(rule_groups())
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    assert "SUCCESS" in promtool("check", "rules", tmp_path / "rules.yml")
    before, after = durations(rule_groups()), durations(groups)
    assert len(before) > 50
    assert after == [f"{milliseconds(duration) // SPEED}ms" for duration in before]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rules_use_existing_metrics_and_labels(expression: str) -> None:
    """A rule uses only metrics of the closed list, with their labels, and recording rules that exist."""
    assert metrics_in(expression) or recorded_in(expression)
    assert unknown_in(expression, labels_of_recorded(), names_and_labels()) == set()


def test_unknown_metric_or_label_is_found() -> None:
    """The check finds a metric, a recording rule and a label that do not exist."""
    recorded, names = {"signpost:a:b": {"job"}}, {"signpost_one": {"topic"}}
    assert unknown_in('sum by (topic) (signpost_one{job="x"}) + signpost:a:b', recorded, names) == set()
    assert unknown_in('sum by (kind) (signpost_one{reason!="x"})', recorded, names) == {"kind", "reason"}
    assert unknown_in("signpost_two + signpost:a:c", recorded, names) == {"signpost_two", "signpost:a:c"}


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_of_an_installation_are_told_apart(alert: str) -> None:
    """No alert adds up installations: its expression keeps cluster and namespace."""
    expression = ALERTS[alert]["expr"]
    groupings = re.findall(r"\b(?:by) \(([^)]*)\)", expression)
    assert all({"cluster", "namespace"} <= {label.strip() for label in one.split(",")} for one in groupings)


def test_severity_tells_faults_of_the_pipeline_from_endpoints() -> None:
    """Alerts about the pipeline page somebody, alerts about customers' endpoints make a ticket."""
    found = {
        group["name"]: {rule["labels"]["severity"] for rule in group["rules"] if "alert" in rule}
        for group in rule_groups("alerts.yml")
    }
    assert found == {name: {severity} for name, severity in SEVERITIES.items()}


@pytest.mark.parametrize("alert", [name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"])
def test_no_page_depends_on_an_endpoint(alert: str) -> None:
    """An alert that wakes somebody uses no metric that a customer's endpoint changes."""
    expression = ALERTS[alert]["expr"]
    assert metrics_in(expression) & OF_ENDPOINTS == set()
    for kinds in re.findall(r"transport_errors_total\{([^}]*)\}", expression):
        assert kinds == 'kind=~"proxy_unreachable|proxy_auth"'


def test_objective_counts_only_what_the_pipeline_delays() -> None:
    """The recording rules of the objective leave out jobs that waited for a limit of their endpoint."""
    rules = [rule for group in rule_groups("recording.yml") for rule in group["rules"]]
    latencies = re.findall(r"first_attempt_latency_seconds_\w+(\{[^}]*\})?", " ".join(rule["expr"] for rule in rules))
    assert len(latencies) > 10
    assert all('limited="no"' in selector for selector in latencies)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_its_texts(alert: str) -> None:
    """Each alert has a sentence, a description with what varies, and the address of its runbook."""
    annotations = ALERTS[alert]["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert re.fullmatch(r"[A-Z][^.{}]*", annotations["summary"])
    assert annotations["description"].rstrip().endswith(".")
    assert annotations["runbook_url"] == f"{RUNBOOKS}{alert.lower()}"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """docs/operations.md has one section for each alert, in their order."""
    assert [section.alert for section in sections()] == [*ALERTS]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.alert)
def test_runbook_says_what_it_means_how_to_look_and_what_to_do(section: Runbook) -> None:
    """Each section has its three parts, and commands to look with."""
    assert section.parts == ("What it means", "How to look", "What to do")
    assert section.commands


def test_configuration_of_the_page_is_valid(tmp_path: Path) -> None:
    """promtool accepts the configuration of docs/operations.md with the rules where it names them."""
    page = (RULES.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (config,) = [block for block in blocks if "rule_files" in block]
    (tmp_path / "prometheus.yml").write_text(config, encoding="utf-8")
    shutil.copytree(RULES, tmp_path / "signpost")
    output = promtool("check", "config", tmp_path / "prometheus.yml")
    assert all(f"signpost/{path.name}" in output for path in RULES.glob("*.yml"))


def test_routes_of_the_page_send_only_pages_to_the_pager() -> None:
    """The routes for Alertmanager on the page use the values of `severity`, and leave no alert without a receiver."""
    page = (RULES.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (text,) = [block for block in blocks if "inhibit_rules" in block]
    config = yaml.safe_load(text)
    (pager,) = config["route"]["routes"]
    assert (pager["matchers"], pager["receiver"]) == (['severity="page"'], "pager")
    assert {receiver["name"] for receiver in config["receivers"]} == {"pager", config["route"]["receiver"]}
    (rule,) = config["inhibit_rules"]
    named = {
        name for matcher in (*rule["source_matchers"], *rule["target_matchers"]) for name in ALERTS if name in matcher
    }
    assert named == {"SignpostWaitingForBrokers"}


def test_labels_of_queries_are_found() -> None:
    """Selectors, groupings and joins count."""
    query = 'max by (a, b) (x{c="1", d!~"2"} and on (e) y) unless on () z'
    assert labels_in(query) == {"a", "b", "c", "d", "e"}

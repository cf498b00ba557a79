"""The alerts of deploy/prometheus/alerts.yml as the overview shows them: a table of sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from deploy.reference.dashboards.panels import PanelQuery, Sentences

_FILE: Final = Path(__file__).parents[2] / "prometheus" / "alerts.yml"
_NONE: Final = "none"
_COLUMNS: Final = {
    "severity": "Urgency",
    "alertname": "What is wrong",
    "cluster": "Cluster",
    "namespace": "Namespace",
    "role": "Role",
    "instance": "Process",
    "topic": "Topic",
    "sender": "Sender",
    "reason": "Reason",
}


def summaries() -> dict[str, str]:
    """Return the sentence of each alert by its name."""
    groups: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule["annotations"]["summary"] for group in groups for rule in group["rules"]}


def firing_alerts() -> Sentences:
    """Return the table of the firing alerts; one row if none fires."""
    nothing = f'label_replace(vector(0), "alertname", "{_NONE}", "", "")'
    found = f'max by ({", ".join(_COLUMNS)}) (ALERTS{{alertname=~"Signpost.*", alertstate="firing", @@}})'
    return Sentences(
        "What is wrong",
        "The firing alerts. docs/operations.md has a runbook for each.",
        PanelQuery(f"{found} or on () {nothing}"),
        columns=_COLUMNS,
        words={
            "alertname": {_NONE: "Nothing is wrong: no alert fires"} | summaries(),
            "severity": {"page": "page: a fault of the pipeline", "ticket": "ticket: a customer's endpoint"},
        },
    )

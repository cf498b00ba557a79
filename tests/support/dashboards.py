"""The queries of the Grafana dashboards, as Grafana sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana"


class Shown(NamedTuple):
    """A query: its dashboard, its panel and its expression with Grafana's variables."""

    dashboard: str
    panel: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.expression[:40]}"

    def sent(self, rate_interval: str) -> str:
        """Return the expression with All for every variable, as Grafana sends it."""
        expression = self.expression.replace("$__rate_interval", rate_interval)
        for name in ("cluster", "namespace", "job", "instance", "sender"):
            expression = expression.replace(f"${name}", ".*")
        return expression


def queries() -> Iterator[Shown]:
    """Yield each query of each dashboard."""
    for file in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield Shown(file.stem, panel["title"], target["expr"])

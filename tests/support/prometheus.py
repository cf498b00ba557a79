"""Prometheus for tests: its rules with shorter windows, and a server that scrapes roles."""

from __future__ import annotations

import http.client
import json
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import yaml

from deploy.dev import kafka, parent_bound
from tests.support.parts import need
from tests.support.roles import Role
from tests.support.waiting import wait_until

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
# Half an hour of the rules is a minute of a test.
SPEED: Final = 30
_SCRAPE: Final = "1s"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+)([smhd])")
_RANGE: Final = re.compile(r"(?<=\[)(\d+[smhd])(?=\])|(?<=\boffset )(\d+[smhd])\b")


def rule_groups(*files: str) -> list[dict[str, Any]]:
    """Return the groups of deploy/prometheus/; of all files unless some are named."""
    paths = [RULES / file for file in files] or sorted(RULES.glob("*.yml"))
    return [group for path in paths for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]


def alert_rules() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for group in rule_groups() for rule in group["rules"] if "alert" in rule}


def labels_of_recorded() -> dict[str, set[str]]:
    """Return the labels of each recording rule: those that its expression groups by."""
    return {
        rule["record"]: {label.strip() for label in re.findall(r"by \(([^)]*)\)", rule["expr"])[0].split(",")}
        for group in rule_groups()
        for rule in group["rules"]
        if "record" in rule
    }


def shortened(groups: Sequence[dict[str, Any]], speed: int = SPEED) -> list[dict[str, Any]]:
    """Return the rules with every duration divided by `speed`: ranges, offsets, `for` and intervals.

    Thresholds stay: seconds in a comparison are values of metrics. Names of recording rules stay as well.
    """
    found = []
    for group in groups:
        rules = []
        for rule in group["rules"]:
            changed = rule | {"expr": _RANGE.sub(lambda match: _divided(match[0], speed), rule["expr"])}
            if "for" in rule:
                changed["for"] = _divided(rule["for"], speed)
            rules.append(changed)
        found.append(group | {"interval": _divided(group["interval"], speed), "rules": rules})
    return found


def _divided(duration: str, speed: int) -> str:
    match = _DURATION.fullmatch(duration)
    assert match is not None, duration
    return f"{int(match[1]) * _SECONDS[match[2]] * 1_000 // speed}ms"


class Prometheus:
    """A running server. Queries are evaluated at the present time."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", f"{path}?{urlencode(parameters)}")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        assert text.startswith('{"status":"success"'), text  # while it starts, it answers with plain text
        return json.loads(text)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of a query, with their labels (`metric`) and their value."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found

    def alerts(self, state: str = "firing") -> set[str]:
        """Return the names of the alerts in a state."""
        return {one["labels"]["alertname"] for one in self.get("/api/v1/alerts")["alerts"] if one["state"] == state}

    def is_up(self) -> bool:
        """Return whether it answers."""
        try:
            return bool(self.query("vector(1)"))
        except OSError:
            return False

    def wait_scraped(self, roles: int) -> None:
        """Wait until it has scraped so many roles twice: a rate needs two samples."""
        twice = f"count(count_over_time(signpost_build_info[1h]) > 1) >= {roles}"
        wait_until(lambda: self.query(twice), 60, f"{roles} roles are scraped")


@contextmanager
def prometheus(folder: Path, *roles: Role, speed: int = SPEED) -> Iterator[Prometheus]:
    """Run a server that scrapes these roles and evaluates the rules of deploy/prometheus/, shortened by `speed`."""
    need("prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": shortened(rule_groups(), speed)}), encoding="utf-8")
    targets = [role.address.removeprefix("http://") for role in roles if role.address is not None]
    config = {
        "global": {"scrape_interval": _SCRAPE, "scrape_timeout": _SCRAPE},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "signpost", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = kafka.free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = parent_bound.start(
            [
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
            on_parent_death=signal.SIGKILL,
        )
    server = Prometheus(port)
    try:
        wait_until(server.is_up, 60, "Prometheus answers")
        yield server
    finally:
        process.kill()

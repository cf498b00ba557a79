"""`signpost demo` at a small size."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.config.senders import make_folder
from deploy.dev.broker import Broker
from schemas.senders.sender import load_senders
from tests.support.roles import RoleStarter
from tests.support.topics import admin_of
from tests.support.waiting import wait_until


def table_in(lines: list[str]) -> list[str]:
    """Return the lines of the final table, from its header to its sum."""
    header = next(number for number, line in enumerate(lines) if line.startswith("sender "))
    return lines[header : next(number for number, line in enumerate(lines) if line.startswith("all ")) + 1]


def test_demo_adds_up(broker: Broker, start_role: RoleStarter, tmp_path: Path) -> None:
    """The demo delivers for every built-in sender, adds up, fits 80 columns, and leaves the user's topics alone."""
    make_folder(tmp_path / "billing")
    demo = start_role(
        ["demo", "--events", "60"],
        {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "SIGNPOST_PREFIX": "test-demo-user.",
            "SIGNPOST_SENDERS": json.dumps([str(tmp_path)]),
            "COLUMNS": "80",
        },
    )

    assert demo.wait() == 0, demo.log_text()
    text = demo.log_text()
    assert "every count adds up" in text
    lines = text.splitlines()
    table = table_in(lines)
    names = table[0].split()
    assert all(len(line) <= 80 and "…" not in line for line in table)
    figures = {line.split()[0]: dict(zip(names, line.split(), strict=False)) for line in table}
    for name in load_senders():
        row = figures[name]
        assert int(row["events"]) >= 8
        assert {row["jobs"], row["attempts"], row["verified"], row["delivered"]} == {row["events"]}
    (cells,) = [line.split()[2:] for line in table if line.split()[:2] == ["always", "500"]]
    dead = dict(zip(names[1:], cells, strict=True))
    total = figures["all"]
    assert {dead["dead"], dead["retried"]} == {dead["events"]}
    assert dead["verified"] == dead["attempts"]
    assert dead["delivered"] == "0"
    assert total["events"] == "60"
    assert total["dead"] == dead["events"]
    assert "billing" not in text
    assert "rdkafka" not in text
    prefix = next(line for line in lines if line.startswith("topics: prefix ")).split()[2].rstrip(",")
    admin = admin_of(broker.bootstrap_servers)
    prefixes = (prefix, "test-demo-user.")
    # A broker responds from its copy of the metadata, which may still list topics that the controller has removed.
    wait_until(
        lambda: not [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefixes)],
        what="its topics are removed",
    )

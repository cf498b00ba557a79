"""`signpost demo`: the main job, run small."""

from __future__ import annotations

from deploy.local.broker import Broker
from tests.support.roles import RoleStarter
from tests.support.topics import admin_of


def test_the_demo_adds_up(broker: Broker, start_role: RoleStarter) -> None:
    """The demo adds up, fits 80 columns, leaves no topic on a broker that stays, and keeps off a user's own prefix."""
    demo = start_role(
        ["demo", "--events", "60"],
        {
            "SIGNPOST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "SIGNPOST_PREFIX": "test-demo-user.",
            "COLUMNS": "80",
        },
    )

    assert demo.wait() == 0, demo.log_text()
    text = demo.log_text()
    assert "every count adds up" in text
    table = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    assert all(len(line) <= 80 and "…" not in line for line in table)
    names = {line.split("│")[1].strip() for line in table if line.startswith("│")}
    assert names >= {"events", "jobs", "delivered", "retried", "waiting", "dead", "signatures verified", "deliveries/s"}
    assert "rdkafka" not in text
    topics = admin_of(broker.bootstrap_servers).list_topics(timeout=10).topics
    prefix = next(line for line in text.splitlines() if line.startswith("topics: prefix ")).split()[2].rstrip(",")
    assert not [topic for topic in topics if topic.startswith((prefix, "test-demo-user."))]

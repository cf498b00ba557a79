"""Latency: from the broker having an event to its request, with router and delivery at work."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from producers.events.publisher import EventPublisher
from schemas.avro.codec import DecodedRecord
from tests.bench.measure import cpu_seconds
from tests.bench.stage import Bench, Stage, event

_RATE: Final = 1_000
_SECONDS: Final = 30
# A broker that has just been started compiles its code on one of the cores meanwhile: with 2 s of it p99 was 150 ms.
_WARM_S: Final = 20
_SUBSCRIPTIONS: Final = 100


def latency(bench: Bench) -> dict[str, Any]:
    """1,000 events a second for 30 s: append of the event to POST started, and to the end of a 2xx's headers, in ms."""
    part = min(1.0, bench.scale)
    events, warm = max(2, int(_SECONDS * part)) * _RATE, max(2, int(_WARM_S * part)) * _RATE
    with bench.stage() as stage:
        stage.subscribed(_SUBSCRIPTIONS)
        roles = [stage.router(), stage.deliver()]
        _publish(stage, 0, warm)
        before = [cpu_seconds(role.pid) for role in roles]
        began = time.monotonic()
        late_ms = _publish(stage, warm, events)
        took = time.monotonic() - began
        cpu = [round((cpu_seconds(role.pid) - was) / took, 2) for role, was in zip(roles, before, strict=True)]
        outcomes = stage.wait_for_ends(warm + events)
    first = f"evt_{warm:08}"
    counted = [outcome for outcome in outcomes if outcome["event_id"] >= first]
    assert all(outcome["state"] == "delivered" for outcome in counted)
    return {
        "events": len(counted),
        "rate": round(events / took),
        "publisher_late_ms": round(late_ms, 1),
        "to_post_ms": percentiles([outcome["at_ms"] - outcome["appended_at_ms"] for outcome in counted]),
        "to_2xx_ms": percentiles([_until_answer_ms(outcome) for outcome in counted]),
        "cores_router": cpu[0],
        "cores_delivery": cpu[1],
    }


def _publish(stage: Stage, start: int, count: int) -> float:
    """Publish at an even rate; return by how many ms the publisher was late at worst."""
    kafka = {**stage.settings.kafka_properties(), "linger.ms": "0"}
    pause, late = threading.Event(), 0.0
    with EventPublisher(kafka, sender=stage.sender, topic=stage.events_topic) as publisher:
        began = time.monotonic()
        for number in range(count):
            ahead = began + number / _RATE - time.monotonic()
            if ahead > 0:
                pause.wait(ahead)
            late = max(late, -ahead)
            one = event(start + number, f"customer-{number % _SUBSCRIPTIONS}")
            publisher.publish(one, key=one.event_id)
    return late * 1_000


def _until_answer_ms(outcome: DecodedRecord) -> float:
    return float(outcome["at_ms"] - outcome["appended_at_ms"] + outcome["duration_us"] / 1_000)


def percentiles(values: list[float]) -> dict[str, float]:
    """Return percentiles; times of the broker and of the start are whole ms, so these are right to about one."""
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("most", 1.0))
    }

"""Latency from the append of an event to its request, with router and delivery running."""

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
# A broker that has just started spends a core on JIT compilation; with a warm-up of 2 s this determines p99.
_WARM_S: Final = 20
_SUBSCRIPTIONS: Final = 100


def latency(bench: Bench) -> dict[str, Any]:
    """1,000 events per second for 30 s: ms from the append of an event to the start of its POST, and to the 2xx."""
    part = min(1.0, bench.scale)
    events = max(2, int(_SECONDS * part)) * _RATE
    warm = max(2, int(_WARM_S * part)) * _RATE
    with bench.stage() as stage:
        stage.subscribed(_SUBSCRIPTIONS)
        roles = [stage.router(), stage.deliver()]
        publish_evenly(stage, 0, warm, _RATE)
        before = [cpu_seconds(role.pid) for role in roles]
        began = time.monotonic()
        late_ms = publish_evenly(stage, warm, events, _RATE)
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
        "to_2xx_ms": percentiles([_to_response_ms(outcome) for outcome in counted]),
        "cores_router": cpu[0],
        "cores_delivery": cpu[1],
    }


def publish_evenly(stage: Stage, start: int, count: int, rate: int) -> float:
    """Publish `rate` events per second; return the longest delay of the publisher in ms."""
    kafka = {**stage.settings.kafka_properties(), "linger.ms": "0"}
    pause = threading.Event()
    late = 0.0
    with EventPublisher(kafka, sender=stage.sender, topic=stage.events_topic) as publisher:
        began = time.monotonic()
        for number in range(count):
            ahead = began + number / rate - time.monotonic()
            if ahead > 0:
                pause.wait(ahead)
            late = max(late, -ahead)
            one = event(start + number, f"customer-{number % _SUBSCRIPTIONS}")
            publisher.publish(one, key=one.event_id)
    return late * 1_000


def _to_response_ms(outcome: DecodedRecord) -> float:
    return float(outcome["at_ms"] - outcome["appended_at_ms"] + outcome["duration_us"] / 1_000)


def percentiles(values: list[float]) -> dict[str, float]:
    """Return percentiles; timestamps are whole ms, so these are exact to about 1 ms."""
    ordered = sorted(values)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0))
    }

"""How late retries start, end to end: from the due time in the outcome of an attempt to the start of the next one."""

from __future__ import annotations

from typing import Any, Final

from tests.bench.latency import percentiles, publish_evenly
from tests.bench.stage import Bench
from tests.support.ends import Ends
from tests.support.waiting import wait_until

_RATE: Final = 200
_SECONDS: Final = 20
_SUBSCRIPTIONS: Final = 100
# Waits of 1, 5 and 30 s: the promise is 1 s for all of them.
_SPEEDUP: Final = 60
_RETRIES: Final = 3
_PROMISED_MS: Final = 1_000


def lateness(bench: Bench) -> dict[str, Any]:
    """200 events per second that fail: ms from the due time of each retry to its start, by the wait before it."""
    retries = _RETRIES if bench.scale >= 1 else _RETRIES - 1
    events = max(1, int(_SECONDS * bench.scale)) * _RATE
    with bench.stage() as stage:
        stage.subscribed(_SUBSCRIPTIONS, url=bench.sink.url + "/failing/h{}")
        stage.router()
        stage.deliver(delay_speedup=_SPEEDUP)
        ends = Ends(stage)
        publish_evenly(stage, 0, events, _RATE)

        def all_retried() -> bool:
            ends.look()
            return len(ends.before) == events and all(len(found) > retries for found in ends.before.values())

        wait_until(all_retried, 600, f"{events} events have {retries} retries")
    late_ms: dict[str, list[float]] = {}
    for outcomes in ends.before.values():
        by_attempt = {outcome["attempt"]: outcome for outcome in outcomes}
        for attempt in range(1, retries + 1):
            due_ms, started_ms = by_attempt[attempt]["next_due_at_ms"], by_attempt[attempt + 1]["at_ms"]
            wait_s = stage.sender.schedule[attempt - 1].total_seconds() / _SPEEDUP
            late_ms.setdefault(f"{wait_s:g} s", []).append(started_ms - due_ms)
    return {
        "events": events,
        "late_ms": {wait: percentiles(values) for wait, values in late_ms.items()},
        "early": sum(late < 0 for values in late_ms.values() for late in values),
        "later_than_promised": sum(late > _PROMISED_MS for values in late_ms.values() for late in values),
    }

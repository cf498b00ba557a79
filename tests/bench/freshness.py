"""Freshness: from an acknowledged change of a subscription to its effect in router and delivery (promise 7)."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from deploy.config.sealing_key import sealer_of
from deploy.dev.receiver import Receiver
from deploy.dev.responses import Received, Reply
from producers.events.publisher import EventPublisher
from producers.subscriptions.changes import Apply, Delete, Pause, Wish
from producers.subscriptions.writer import SubscriptionWriter
from schemas.senders.sender import load_senders
from schemas.subscriptions.rules import Draft, Given
from tests.bench.latency import percentiles
from tests.bench.stage import Bench, Stage, event
from tests.support.pipeline import SECRET

_ROUNDS: Final = 120  # each creates a subscription, and deletes or pauses it under load
_EVENTS_A_SECOND: Final = 300
_CUSTOMERS: Final = 2  # an event of each comes every 7 ms: no figure is finer
_TIMEOUT_S: Final = 10.0


def freshness(bench: Bench) -> dict[str, Any]:
    """Create, delete and pause under load, a few hundred times: when each counts, from its acknowledgement, in ms."""
    rounds = bench.scaled(_ROUNDS, 5)
    watch = _Watch()
    with bench.stage() as stage, Receiver(on_delivery=watch.request, keep=False) as receiver:
        stage.router()
        stage.deliver()
        wishes = [wish for number in range(rounds) for wish in _round(number, receiver.url)]
        with _writing(stage) as write, _events(stage):
            changes = [_change(write, watch, *wish) for wish in wishes]
        stage.wait_for_ends(len(stage.jobs()))
        return _figures(changes, watch, stage)


@dataclass(frozen=True, slots=True)
class _Change:
    """One change: when it was asked for, and when it was acknowledged (Unix ms)."""

    kind: str
    subscription: str
    asked_ms: float
    acknowledged_ms: float


class _Watch:
    """When the first request for each subscription came (Unix ms)."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self._arrived = threading.Condition()

    def request(self, received: Received, _reply: Reply) -> None:
        """Take note of a request, in the receiver's thread."""
        with self._arrived:
            self.first.setdefault(received.path.strip("/"), received.arrived_at * 1_000)
            self._arrived.notify_all()

    def wait_for(self, subscription: str) -> None:
        """Wait for the first request."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: subscription in self.first, _TIMEOUT_S), f"none for {subscription}"


def _round(number: int, url: str) -> Iterator[tuple[str, str, Wish]]:
    id_ = f"sub-{number:05}"
    draft = Draft(
        id=id_,
        sender="zenoo",
        customer_id=_customer(number),
        url=f"{url}{id_}",
        event_types=("*",),
        secret=Given(SECRET),
    )
    yield "create", id_, Apply(draft)
    if number % 2:
        yield "pause", id_, Pause(id_)
    yield ("removal" if number % 2 else "delete"), id_, Delete(id_)


def _customer(number: int) -> str:
    return f"customer-{number % _CUSTOMERS}"


def _change(write: Callable[[Wish], None], watch: _Watch, kind: str, id_: str, wish: Wish) -> _Change:
    if kind != "create":
        watch.wait_for(id_)  # requests are under way when it ends
    asked_ms = time.time() * 1_000
    write(wish)
    return _Change(kind, id_, asked_ms, time.time() * 1_000)


def _figures(changes: list[_Change], watch: _Watch, stage: Stage) -> dict[str, Any]:
    """Return times from acknowledgement to effect, in ms: negative ones came before it."""
    started, routed = defaultdict[str, list[float]](list), defaultdict[str, set[str]](set)
    for outcome in stage.outcomes():
        if outcome["state"] != "cancelled":
            started[outcome["subscription_id"]].append(outcome["at_ms"])
    for job in stage.jobs():
        routed[job.subscription_id].add(job.event_id)
    published = [
        ((message.key() or b"").decode(), message.timestamp()[1]) for message in stage.read(stage.events_topic)
    ]
    ended = {change.subscription: change for change in reversed(changes) if change.kind in ("delete", "pause")}
    effects = defaultdict[str, list[float]](list)
    violations = Counter[str]()
    for change in changes:
        id_, at_ms, mine = change.subscription, change.acknowledged_ms, routed[change.subscription]
        of_customer = [(one, ms) for one, ms in published if _customer(_number(one)) == _customer(_number(id_))]
        if change.kind == "create":
            missed = [ms for one, ms in of_customer if one not in mine and change.asked_ms < ms < ended[id_].asked_ms]
            effects["create_in_router"].append(max(missed, default=change.asked_ms) - at_ms)
            effects["create_in_delivery"].append(watch.first[id_] - at_ms)
            violations["create"] += sum(ms > at_ms for ms in missed)
        elif change.kind in ("delete", "pause"):
            effects[f"{change.kind}_in_router"].append(max(ms for one, ms in of_customer if one in mine) - at_ms)
            effects[f"{change.kind}_in_delivery"].append(max(started[id_]) - at_ms)
            violations[change.kind] += sum(ms > at_ms for ms in started[id_])
    return {
        "changes": Counter(change.kind for change in changes if change.kind != "removal"),
        "attempts": sum(map(len, started.values())),
        "acknowledged_after_ms": percentiles([change.acknowledged_ms - change.asked_ms for change in changes]),
        **{f"{name}_ms": percentiles(values) for name, values in sorted(effects.items())},
        "violations": {kind: violations[kind] for kind in ("create", "delete", "pause")},
    }


def _number(name: str) -> int:
    return int(name.rpartition("_")[2].rpartition("-")[2])


@contextmanager
def _writing(stage: Stage) -> Iterator[Callable[[Wish], None]]:
    kafka = stage.settings.kafka_properties()
    writer = SubscriptionWriter(kafka, stage.names, load_senders(), sealer_of(stage.settings))
    try:
        yield lambda wish: _write(writer, wish)
    finally:
        writer.close()


def _write(writer: SubscriptionWriter, wish: Wish) -> None:
    writer.write([wish])


@contextmanager
def _events(stage: Stage) -> Iterator[None]:
    """Publish events of all customers at an even rate meanwhile, and stop a while after the last change."""
    over = threading.Event()

    def publish() -> None:
        kafka = {**stage.settings.kafka_properties(), "linger.ms": "0"}
        with EventPublisher(kafka, sender=stage.sender, topic=stage.events_topic) as publisher:
            began, number = time.monotonic(), 0
            while not over.wait(max(0.0, began + number / _EVENTS_A_SECOND - time.monotonic())):
                one = event(number, _customer(number))
                publisher.publish(one, key=one.event_id)
                number += 1

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
        over.wait(1.0)  # what would come too late comes within a second
    finally:
        over.set()
        thread.join()

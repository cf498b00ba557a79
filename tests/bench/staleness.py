"""Staleness: time from an acknowledged change of a subscription to its effect in router and delivery (promise 7)."""

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
from producers.subscriptions.changes import Apply, Command, Delete, Pause
from producers.subscriptions.writer import SubscriptionWriter
from schemas.senders.sender import load_senders
from schemas.subscriptions.rules import Draft, Given
from tests.bench.latency import percentiles
from tests.bench.stage import Bench, Stage, event
from tests.support.pipeline import SECRET
from tests.support.subscriptions import AUTHOR

_ROUNDS: Final = 120  # each creates a subscription, and deletes or pauses it under load
_EVENTS_A_SECOND: Final = 300
_CUSTOMERS: Final = 2  # each has an event every 7 ms, which is the resolution of all figures
_TIMEOUT_S: Final = 10.0


def staleness(bench: Bench) -> dict[str, Any]:
    """Time in ms from the acknowledgement of creates, deletes and pauses under load to their effect."""
    rounds = bench.scaled(_ROUNDS, 5)
    watch = _Watch()
    with bench.stage() as stage, Receiver(on_delivery=watch.request, keep=False) as receiver:
        stage.router()
        stage.deliver()
        steps = [step for number in range(rounds) for step in _round(number, receiver.url)]
        with _writing(stage) as write, _events(stage):
            changes = [_change(write, watch, *step) for step in steps]
        stage.wait_for_ends(len(stage.jobs()))
        return _figures(changes, watch, stage)


@dataclass(frozen=True, slots=True)
class _Change:
    """A change: when it was requested and when it was acknowledged (Unix ms)."""

    kind: str
    subscription: str
    requested_ms: float
    acknowledged_ms: float


class _Watch:
    """Records when the first request of each subscription arrived (Unix ms)."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self._arrived = threading.Condition()

    def request(self, received: Received, _reply: Reply) -> None:
        """Record a request; called in the receiver's thread."""
        with self._arrived:
            self.first.setdefault(received.path.strip("/"), received.arrived_at * 1_000)
            self._arrived.notify_all()

    def wait_for(self, subscription: str) -> None:
        """Wait for the first request."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: subscription in self.first, _TIMEOUT_S), (
                f"no request for {subscription}"
            )


def _round(number: int, url: str) -> Iterator[tuple[str, str, Command]]:
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


def _change(write: Callable[[Command], None], watch: _Watch, kind: str, id_: str, change: Command) -> _Change:
    if kind != "create":
        watch.wait_for(id_)  # its requests are in flight when it is deleted or paused
    requested_ms = time.time() * 1_000
    write(change)
    return _Change(kind, id_, requested_ms, time.time() * 1_000)


def _figures(changes: list[_Change], watch: _Watch, stage: Stage) -> dict[str, Any]:
    """Return times from acknowledgement to effect in ms; negative: the effect came first."""
    started = defaultdict[str, list[float]](list)
    routed = defaultdict[str, set[str]](set)
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
        id_ = change.subscription
        at_ms = change.acknowledged_ms
        events = routed[id_]
        of_customer = [(one, ms) for one, ms in published if _customer(_number(one)) == _customer(_number(id_))]
        if change.kind == "create":
            missed = [
                ms
                for one, ms in of_customer
                if one not in events and change.requested_ms < ms < ended[id_].requested_ms
            ]
            effects["create_in_router"].append(max(missed, default=change.requested_ms) - at_ms)
            effects["create_in_delivery"].append(watch.first[id_] - at_ms)
            violations["create"] += sum(ms > at_ms for ms in missed)
        elif change.kind in ("delete", "pause"):
            effects[f"{change.kind}_in_router"].append(max(ms for one, ms in of_customer if one in events) - at_ms)
            effects[f"{change.kind}_in_delivery"].append(max(started[id_]) - at_ms)
            violations[change.kind] += sum(ms > at_ms for ms in started[id_])
    return {
        "changes": Counter(change.kind for change in changes if change.kind != "removal"),
        "attempts": sum(map(len, started.values())),
        "acknowledged_after_ms": percentiles([change.acknowledged_ms - change.requested_ms for change in changes]),
        **{f"{name}_ms": percentiles(values) for name, values in sorted(effects.items())},
        "violations": {kind: violations[kind] for kind in ("create", "delete", "pause")},
    }


def _number(name: str) -> int:
    return int(name.rpartition("_")[2].rpartition("-")[2])


@contextmanager
def _writing(stage: Stage) -> Iterator[Callable[[Command], None]]:
    kafka = stage.settings.kafka_properties()
    writer = SubscriptionWriter(kafka, stage.names, load_senders(), sealer_of(stage.settings))
    try:
        yield lambda change: _write(writer, change)
    finally:
        writer.close()


def _write(writer: SubscriptionWriter, change: Command) -> None:
    writer.write([change], AUTHOR)


@contextmanager
def _events(stage: Stage) -> Iterator[None]:
    """Publish events of all customers at an even rate, until a second after the block."""
    over = threading.Event()

    def publish() -> None:
        kafka = {**stage.settings.kafka_properties(), "linger.ms": "0"}
        with EventPublisher(kafka, sender=stage.sender, topic=stage.events_topic) as publisher:
            began = time.monotonic()
            number = 0
            while not over.wait(max(0.0, began + number / _EVENTS_A_SECOND - time.monotonic())):
                one = event(number, _customer(number))
                publisher.publish(one, key=one.event_id)
                number += 1

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
        over.wait(1.0)  # a late effect shows within a second
    finally:
        over.set()
        thread.join()

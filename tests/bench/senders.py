"""CPU time to render and sign one event, for each sender and signature scheme."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from deploy.demo.simulator import Simulator
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender, load_senders
from tests.bench.stage import Bench
from tests.support.attempts import Attempted

_EVENTS: Final = 500
_ROUNDS: Final = 40
# The best try counts; the others include other load of the machine.
_TRIES: Final = 5
_PRIVATE: Final = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


def senders(bench: Bench) -> dict[str, Any]:
    """CPU µs to render and sign one simulated event, by sender, and to decode it from Avro."""
    rounds = max(1, round(_ROUNDS * bench.scale))
    figures: dict[str, Any] = {}
    for name, sender in load_senders().items():
        made = Simulator(7, ("acme",), lambda: 1_771_236_060_123_456, sender).events()
        events = list(islice(made, _EVENTS))
        figures[name] = _measured(sender, events, sender.generate_secret(), rounds)
    figures["standard v1a"] = _measured(load_senders()["standard"], events, _PRIVATE, rounds)
    return figures


def _measured(sender: Sender, events: list[Event], secret: str, rounds: int) -> dict[str, float]:
    decode = EventDecoder(sender).decode
    values = [encode_event(sender, event) for event in events]
    decoded = [decode(value, str) for value in values]
    bodies = [sender.render(event) for event in decoded]
    attempts = [Attempted(event_id=event.event_id, event_type=event.event_type) for event in decoded]
    keys = [sender.signing_key(secret)]

    def render_and_sign() -> None:
        for event, attempt in zip(decoded, attempts, strict=True):
            sender.headers(attempt, sender.render(event), keys, 1_771_236_060)

    def read() -> None:
        for value in values:
            decode(value, str)

    return {
        "cpu_us": round(_cpu_us(render_and_sign, rounds) / len(events), 2),
        "decode_us": round(_cpu_us(read, rounds) / len(events), 2),
        "body_bytes": round(sum(map(len, bodies)) / len(bodies)),
    }


def _cpu_us(call: Callable[[], None], rounds: int) -> float:
    """Return the CPU µs of one call, the best of several measurements."""
    best = float("inf")
    for _ in range(_TRIES):
        started_s = time.process_time()
        for _ in range(rounds):
            call()
        best = min(best, (time.process_time() - started_s) / rounds)
    return best * 1e6

"""One wide log line per outcome: all that someone on call asks for, none of the URL but its host.

A structured logger takes 15 µs or more for such a line, more than the request itself costs; this takes about 3.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import Any, BinaryIO, Final

import orjson

from schemas.records.delivery import Outcome

_COLOURS: Final = {"delivered": 32, "retry": 33, "dead": 31, "cancelled": 35}


class OutcomeLog:
    """Writes outcomes to a binary stream as JSON lines or for people; buffered until `flush`.

    With `dead_only` (a log level above info) all but dead ones are left out.
    """

    def __init__(self, stream: BinaryIO, as_json: bool, *, colours: bool = False, dead_only: bool = False) -> None:
        self._stream = stream
        self._render = self._as_json if as_json else self._as_text
        self._states = {state: f"\x1b[{code}m{state}\x1b[0m" if colours else state for state, code in _COLOURS.items()}
        self._dead_only = dead_only
        # Not a list: 3,000 objects that orjson made larger than they end take more time than a copy of each.
        self._buffer = bytearray()

    def write(self, outcome: Outcome) -> None:
        """Add a line; it is seen after `flush`."""
        if outcome.state == "dead" or not self._dead_only:
            self._buffer += self._render(outcome)

    def flush(self) -> None:
        """Hand over all lines since the last time; what the stream does not take is lost, and the role goes on."""
        if not self._buffer:
            return
        lines, self._buffer = self._buffer, bytearray()
        try:
            self._stream.write(lines)
            self._stream.flush()
        except OSError:  # a full disk or a closed pipe: deliveries matter more than their log
            return

    def _as_json(self, outcome: Outcome) -> bytes:
        job = outcome.job
        fields: dict[str, Any] = {
            "timestamp": _time(outcome.at_ms + outcome.duration_us // 1_000),
            "level": "warning" if outcome.state == "dead" else "info",
            "event": _name(outcome),
            "state": outcome.state,
            "job": job.job_id,
            "subscription": job.subscription_id,
            "host": outcome.host,
            "sender": job.sender,
            "event_type": job.event_type,
            "event_id": job.event_id,
            "attempt": job.attempt,
            "status": outcome.status,
            "duration_ms": outcome.duration_us // 1_000,
        }
        if outcome.reason:
            fields["reason"] = outcome.reason
        if outcome.error:
            fields["error"] = outcome.error
        if outcome.next_due_at_ms is not None:
            fields["next_due"] = _time(outcome.next_due_at_ms)
        try:
            return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:  # text that is not Unicode, such as a lone surrogate
            return json.dumps(fields).encode() + b"\n"

    def _as_text(self, outcome: Outcome) -> bytes:
        job = outcome.job
        line = (
            f"job={_value(job.job_id)} subscription={_value(job.subscription_id)} host={_value(outcome.host)} "
            f"sender={_value(job.sender)} event_type={_value(job.event_type)} event_id={_value(job.event_id)} "
            f"attempt={job.attempt} status={outcome.status or '-'} duration_ms={outcome.duration_us // 1_000}"
        )
        if outcome.reason:
            line += f" reason={_value(outcome.reason)}"
        if outcome.error:
            line += f" error={_value(outcome.error)}"
        if outcome.next_due_at_ms is not None:
            line += f" next_due={_time(outcome.next_due_at_ms)}"
        clock = _time(outcome.at_ms + outcome.duration_us // 1_000)
        level = "warning  " if outcome.state == "dead" else "info     "
        return f"{clock} [{level}] {_name(outcome)} state={self._states[outcome.state]} {line}\n".encode()


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _time(at_ms: int) -> str:
    """Return an instant as ISO 8601; lines of one second share its text."""
    second, millisecond = divmod(at_ms, 1_000)
    return f"{_second(second)}.{millisecond:03}Z"


def _name(outcome: Outcome) -> str:
    return "delivery.cancelled" if outcome.state == "cancelled" else "delivery.attempted"


def _value(text: str) -> str:
    """Quote what would look like more than one value, or begin a line of its own."""
    if text.isascii() and text.isprintable() and " " not in text and '"' not in text and text:
        return text
    return json.dumps(text)

"""Writes one wide log line per outcome, for those on call. Of the URL it shows only the host.

This does not use structlog, which takes longer for such a line than delivery takes for the request.
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
    """Writes outcomes to a binary stream, as JSON lines or as text for people. Buffers lines until `flush`.

    `dead_only` is for a log level above info: only outcomes of dead jobs are written.
    """

    def __init__(self, stream: BinaryIO, as_json: bool, *, colours: bool = False, dead_only: bool = False) -> None:
        self._stream = stream
        self._render = self._as_json if as_json else self._as_text
        self._states = {state: f"\x1b[{code}m{state}\x1b[0m" if colours else state for state, code in _COLOURS.items()}
        self._dead_only = dead_only
        # Copying each line into one buffer takes less time than keeping thousands of bytes objects from orjson.
        self._buffer = bytearray()

    def write(self, outcome: Outcome) -> None:
        """Buffer the line of an outcome."""
        if outcome.state == "dead" or not self._dead_only:
            self._buffer += self._render(outcome)

    def flush(self) -> None:
        """Write the buffered lines. If the stream fails, they are lost, and the process continues."""
        if not self._buffer:
            return
        lines = self._buffer
        self._buffer = bytearray()
        try:
            self._stream.write(lines)
            self._stream.flush()
        except OSError:  # full disk or closed pipe: deliveries are more important than their log
            return

    def _as_json(self, outcome: Outcome) -> bytes:
        job = outcome.job
        fields: dict[str, Any] = {
            "timestamp": _iso_time(outcome.at_ms + outcome.duration_us // 1_000),
            "level": "warning" if outcome.state == "dead" else "info",
            "event": _event_name(outcome),
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
            fields["next_due"] = _iso_time(outcome.next_due_at_ms)
        if outcome.trace is not None:
            fields["trace_id"] = outcome.trace.trace_id
        try:
            return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
        except orjson.JSONEncodeError:  # text that UTF-8 cannot encode, such as a lone surrogate
            return json.dumps(fields).encode() + b"\n"

    def _as_text(self, outcome: Outcome) -> bytes:
        job = outcome.job
        line = (
            f"job={_quoted(job.job_id)} subscription={_quoted(job.subscription_id)} host={_quoted(outcome.host)} "
            f"sender={_quoted(job.sender)} event_type={_quoted(job.event_type)} event_id={_quoted(job.event_id)} "
            f"attempt={job.attempt} status={outcome.status or '-'} duration_ms={outcome.duration_us // 1_000}"
        )
        if outcome.reason:
            line += f" reason={_quoted(outcome.reason)}"
        if outcome.error:
            line += f" error={_quoted(outcome.error)}"
        if outcome.next_due_at_ms is not None:
            line += f" next_due={_iso_time(outcome.next_due_at_ms)}"
        if outcome.trace is not None:
            line += f" trace_id={outcome.trace.trace_id}"
        timestamp = _iso_time(outcome.at_ms + outcome.duration_us // 1_000)
        level = "warning  " if outcome.state == "dead" else "info     "
        return f"{timestamp} [{level}] {_event_name(outcome)} state={self._states[outcome.state]} {line}\n".encode()


@lru_cache(maxsize=256)
def _iso_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _iso_time(at_ms: int) -> str:
    """Return a time as ISO 8601. The text of each second is cached."""
    second, millisecond = divmod(at_ms, 1_000)
    return f"{_iso_second(second)}.{millisecond:03}Z"


def _event_name(outcome: Outcome) -> str:
    return "delivery.cancelled" if outcome.state == "cancelled" else "delivery.attempted"


def _quoted(text: str) -> str:
    """Return a value, in quotes if it could be taken for several values or for a line of its own."""
    if text.isascii() and text.isprintable() and " " not in text and '"' not in text and text:
        return text
    return json.dumps(text)

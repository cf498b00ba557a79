"""Appended records always end, also if the client loses one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.kafka.append_log import AppendLog
from schemas.catalog.errors import Unavailable

OFFSET = 7


class LosingProducer:
    """A producer that loses all records if it is the first one; others are acknowledged at once."""

    made = 0

    def __init__(self, _config: dict[str, Any], **_: object) -> None:
        self._loses = LosingProducer.made == 0
        LosingProducer.made += 1

    def produce(self, _topic: str, _value: bytes, partition: int, on_delivery: Callable[[None, Any], None]) -> None:
        if not self._loses:
            on_delivery(None, SimpleNamespace(offset=lambda: OFFSET))

    def poll(self, _seconds: float) -> None:
        threading.Event().wait(0.002)

    def flush(self, _seconds: float) -> int:
        return 0


def test_lost_record_fails_and_later_ones_are_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that the client has lost fails some seconds after its timeout, and a new producer appends later ones."""
    monkeypatch.setattr("consumers.kafka.append_log.Producer", LosingProducer)
    monkeypatch.setattr(LosingProducer, "made", 0)
    now = [100.0]
    with closing(AppendLog({}, "tests", timeout_s=10.0, monotonic=lambda: now[0])) as log:
        lost = log.append(b"lost")
        now[0] = 116.0
        with pytest.raises(Unavailable, match="tests could not be written"):
            lost.result(60)
        assert log.append(b"next").result(60) == OFFSET

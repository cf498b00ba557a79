"""The first call of a transactional producer may never return, despite its timeout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from consumers.kafka.hanging import Sweep
from consumers.kafka.positions import CommittedPositions
from consumers.kafka.transactions import Transactions


class HangingProducer:
    """A producer whose first instance hangs in `init_transactions`."""

    made = 0
    released = threading.Event()

    def __init__(self, _config: dict[str, Any], **_: object) -> None:
        self._hangs = HangingProducer.made == 0
        HangingProducer.made += 1

    def list_topics(self, timeout: float) -> None:
        pass

    def init_transactions(self, _timeout: float) -> None:
        if self._hangs:
            self.released.wait()

    def purge(self) -> None:
        pass


@pytest.fixture(autouse=True)
def hanging_producer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("consumers.kafka.transactions.Producer", HangingProducer)
    yield
    HangingProducer.released.set()


def test_process_starts_with_a_second_producer() -> None:
    """A producer that hangs at the start of a process is abandoned after 10 s, and another one takes its place."""
    now = [0.0]
    transactions = Transactions({}, cast("CommittedPositions", None), cast("Sweep", None), monotonic_s=lambda: now[0])

    def stopping() -> bool:
        now[0] += 1.0
        return False

    assert transactions.start(stopping)
    assert HangingProducer.made > 1

"""A process restarts if a new client reaches the brokers at once, and its own clients do not for a minute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumers.kafka.stuck_clients import AT_ONCE_S, STUCK_AFTER_S, StuckClients
from schemas.catalog.errors import Unavailable

pytestmark = pytest.mark.promise(1)

Answer = float | BaseException | None


class Process:
    """A process whose requests are not answered; `answer` is what a new client gets (None: nothing yet)."""

    def __init__(self, answer: Callable[[int], Answer]) -> None:
        self.tries = 0
        self._answer = answer
        self.stuck = StuckClients(self._attempt)

    def _attempt(self) -> Future[float]:
        self.tries += 1
        found = self._answer(self.tries)
        future: Future[float] = Future()
        if isinstance(found, BaseException):
            future.set_exception(found)
        elif found is not None:
            future.set_result(found)
        return future

    def stuck_at(self, until_s: int, unanswered: Callable[[int], bool] = lambda _: True) -> int | None:
        """Run one turn a second; return the first second at which a restart is due, None if there is none."""
        return next((s for s in range(until_s) if self.stuck.are_stuck(float(s), unanswered=unanswered(s))), None)


def test_process_restarts_after_a_minute() -> None:
    """New clients get their responses at once for half of it."""
    process = Process(lambda _: 0.1)
    assert process.stuck_at(600) == STUCK_AFTER_S + 1
    assert process.tries == 7  # from second 30 to 60, each 5 seconds


@pytest.mark.parametrize(
    "answer",
    [
        AT_ONCE_S + 0.1,
        None,
        Unavailable("the brokers do not respond"),
        KafkaException(KafkaError(KafkaError._TIMED_OUT)),
    ],
    ids=["slow brokers", "hanging brokers", "no broker", "an unavailable partition"],
)
def test_brokers_that_serve_no_new_client_cause_no_restart(answer: Answer) -> None:
    """A restart would not help, and would repeat what is uncommitted."""
    assert Process(lambda _: answer).stuck_at(3_600) is None


def test_brokers_that_are_fast_by_chance_cause_no_restart() -> None:
    """Some responses at once, then a late one: the brokers are slow."""
    assert Process(lambda number: 3.0 if number % 6 == 0 else 0.1).stuck_at(3_600) is None


def test_brokers_that_hang_after_some_responses_cause_no_restart() -> None:
    """The time in which a new client waits for its response is no time of responses at once."""
    assert Process(lambda number: 0.1 if number <= 5 else None).stuck_at(3_600) is None


def back_after_70_s(number: int) -> Answer:
    """The brokers are away until second 70, in which a new client is tried for the ninth time."""
    return Unavailable("no broker responds") if number <= 8 else 0.1


def test_brokers_that_return_cause_no_restart_at_once() -> None:
    """The clients of the process get the time to connect again, even if the brokers were away for over a minute."""
    assert Process(back_after_70_s).stuck_at(3_600, unanswered=lambda s: s < 95) is None


def test_process_restarts_if_its_clients_do_not_connect_to_brokers_that_returned() -> None:
    """Half a minute after their return its clients are stuck."""
    assert Process(back_after_70_s).stuck_at(3_600) == 101


def test_responses_in_between_cause_no_restart() -> None:
    """A client that gets a response now and then is not stuck."""
    process = Process(lambda _: 0.1)
    assert process.stuck_at(3_600, unanswered=lambda s: s % 50 != 0) is None


def test_process_without_trouble_tries_no_new_client() -> None:
    """A detector that is not needed costs no connection."""
    process = Process(lambda _: 0.1)
    assert process.stuck_at(3_600, unanswered=lambda _: False) is None
    assert process.tries == 0


def test_second_outage_starts_from_the_beginning() -> None:
    """What new clients got in the last outage does not count for the next one."""
    process = Process(lambda _: 0.1)
    assert process.stuck_at(int(STUCK_AFTER_S) - 1) is None
    process.stuck.are_stuck(60.0, unanswered=False)
    begins_s = 1_000
    found = [s for s in range(200) if process.stuck.are_stuck(float(begins_s + s), unanswered=True)]
    assert found[0] == STUCK_AFTER_S + 1


def test_stall_of_the_process_starts_from_the_beginning() -> None:
    """Clients that could not run, as on a machine that was suspended, need the time again."""
    process = Process(lambda _: 0.1)
    assert process.stuck_at(45) is None
    found = [s for s in range(700, 900) if process.stuck.are_stuck(float(s), unanswered=True)]
    assert found[0] == 700 + STUCK_AFTER_S + 1

"""Signals and liveness of the process of a role."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from consumers.service.signals import STUCK_AFTER_S, Stop
from tests.support.processes import python, read_line


class Clock:
    """A monotonic clock that only the test advances."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stop(clock: Clock) -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Stop(clock)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_liveness_fails_after_a_minute_without_a_turn(stop: Stop, clock: Clock) -> None:
    """/healthz fails if the loop has not turned for 60 s, and recovers with the next turn."""
    clock.now_s += STUCK_AFTER_S - 1
    assert stop.why_not_alive() is None
    clock.now_s += 1
    assert stop.why_not_alive() == "the loop has not turned for 60 s"
    assert not stop()
    assert stop.why_not_alive() is None


def test_draining_process_stays_alive(stop: Stop, clock: Clock) -> None:
    """After SIGTERM the drain has its own deadline, and liveness does not fail."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    clock.now_s += 10 * STUCK_AFTER_S
    assert stop.why_not_alive() is None


def test_signal_during_restart_is_kept() -> None:
    """SIGTERM during a re-exec is kept until the new program can drain: it neither kills it nor is lost."""
    with python(
        """
        import os, signal
        from consumers.service.signals import STOP_SIGNALS, Stop
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # as deploy/roles/restart.py does
        os.kill(os.getpid(), signal.SIGTERM)
        print(Stop()(), flush=True)
        """
    ) as process:
        assert read_line(process) == "True"


AT_EXEC = """
    import os, signal, threading
    from consumers.service.signals import Stop
    from deploy.roles import restart
    from deploy.config.logs import configure_logging
    configure_logging("error", "json")
    def execv(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        print("kept" if signal.SIGTERM in signal.sigpending() else "lost", flush=True)
        os._exit(0)
    restart.os.execv = execv
    stop = Stop()
    """


def test_signal_just_before_exec_is_not_lost() -> None:
    """SIGTERM just before a re-exec stays pending or ends the process: no thread swallows it."""
    with python(AT_EXEC + 'restart.restart_in_place("test", stop)\n') as process:
        assert read_line(process) == "kept"
    waits = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    with python(AT_EXEC + waits + '    restart.restart_in_place("test", stop)\n') as process:
        assert process.wait(30) == -signal.SIGTERM


def test_stopping_role_does_not_restart() -> None:
    """SIGTERM before a re-exec ends the role instead."""
    sigterm = "os.kill(os.getpid(), signal.SIGTERM)\n"
    with python(
        AT_EXEC + sigterm + '    restart.restart_in_place("test", stop)\n    print("ends", flush=True)\n'
    ) as process:
        assert read_line(process) == "ends"

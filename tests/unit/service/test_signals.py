"""What the process of a role knows of its own end and life."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from consumers.service.signals import STUCK_AFTER_S, Stop
from tests.support.processes import python, read_line


class Clock:
    """A monotonic clock that stands until it is moved."""

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


def test_a_loop_that_has_not_turned_for_a_minute_is_to_be_started_again(stop: Stop, clock: Clock) -> None:
    """/healthz fails once the loop has not asked for 60 s, and is well as soon as it turns again."""
    clock.now_s += STUCK_AFTER_S - 1
    assert stop.why_not_alive() is None
    clock.now_s += 1
    assert stop.why_not_alive() == "the loop has not turned for 60 s"
    assert not stop()
    assert stop.why_not_alive() is None


def test_who_drains_is_not_restarted(stop: Stop, clock: Clock) -> None:
    """After SIGTERM the drain has its own deadline: no probe ends it early."""
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    clock.now_s += 10 * STUCK_AFTER_S
    assert stop.why_not_alive() is None


def test_a_signal_that_came_while_it_began_anew_is_heard() -> None:
    """SIGTERM to a role that replaces itself is kept until the fresh one can drain: it neither kills it nor is lost."""
    with python(
        """
        import os, signal
        from consumers.service.signals import ENDING, Stop
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # as deploy/roles/restart.py does
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


def test_a_signal_at_the_last_moment_is_kept_or_ends_the_process() -> None:
    """No thread of a role that is about to replace itself swallows a SIGTERM."""
    with python(AT_EXEC + 'restart.restart_process("test", stop)\n') as process:
        assert read_line(process) == "kept"
    waits = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    with python(AT_EXEC + waits + '    restart.restart_process("test", stop)\n') as process:
        assert process.wait(30) == -signal.SIGTERM


def test_who_was_told_to_end_does_not_begin_anew() -> None:
    """SIGTERM before it replaces itself ends a role instead."""
    told = "os.kill(os.getpid(), signal.SIGTERM)\n"
    with python(
        AT_EXEC + told + '    restart.restart_process("test", stop)\n    print("ends", flush=True)\n'
    ) as process:
        assert read_line(process) == "ends"

"""When a process restarts after a fatal error, and when it exits."""

from __future__ import annotations

from consumers.service.restart_policy import RestartPolicy


def test_fenced_process_exits_while_it_makes_progress() -> None:
    """A process that made progress until another one took its instance id does not restart."""
    policy = RestartPolicy()
    policy.record_progress(100.0)
    assert not policy.should_restart(101.0)


def test_process_restarts_after_brokers_were_unreachable() -> None:
    """A process that made no progress for a while, since brokers were unreachable, restarts."""
    policy = RestartPolicy()
    policy.record_progress(100.0)
    assert policy.should_restart(103.0)


def test_process_that_never_made_progress_exits() -> None:
    """An error at startup, such as a lost position, ends the process, however long startup took."""
    assert not RestartPolicy().should_restart(1_000.0)
    assert not RestartPolicy().is_stranded(1_000.0)


def test_lost_partitions_are_awaited_for_a_minute() -> None:
    """A process restarts if its lost partitions do not come back within a minute."""
    policy = RestartPolicy()
    policy.record_progress(100.0)
    assert not policy.is_stranded(159.0)
    assert policy.is_stranded(161.0)


def test_fenced_process_exits_after_stall() -> None:
    """A stall of the process does not count as unreachable brokers: another process took its instance id."""
    policy = RestartPolicy()
    policy.record_stall(5.0)
    policy.record_progress(100.0)
    policy.record_stall(30.0)
    assert not policy.should_restart(131.0)
    assert policy.should_restart(133.0)

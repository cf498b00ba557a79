"""When a process that cannot go on begins anew, and when it ends."""

from __future__ import annotations

from consumers.runtime.outage import Outage


def test_who_is_fenced_at_work_has_to_end() -> None:
    """A process that was at work until another one took over its instance id does not fight for it."""
    outage = Outage()
    outage.works(100.0)
    assert not outage.explains(101.0)


def test_who_failed_after_an_outage_begins_anew() -> None:
    """A process that could do nothing for a while, as brokers were away, begins anew."""
    outage = Outage()
    outage.works(100.0)
    assert outage.explains(103.0)


def test_who_never_worked_ends_with_its_sentence() -> None:
    """What is wrong from the start, such as a lost position, is no outage, however long the start took."""
    assert not Outage().explains(1_000.0)
    assert not Outage().is_stranded(1_000.0)


def test_lost_partitions_are_awaited_for_a_minute() -> None:
    """Partitions that do not come back within a minute are reason enough to begin anew."""
    outage = Outage()
    outage.works(100.0)
    assert not outage.is_stranded(159.0)
    assert outage.is_stranded(161.0)


def test_who_stood_still_and_is_fenced_has_to_end() -> None:
    """Time for which the process itself did not run is no outage: another one has its instance id meanwhile."""
    outage = Outage()
    outage.stood_still(5.0)
    outage.works(100.0)
    outage.stood_still(30.0)
    assert not outage.explains(131.0)
    assert outage.explains(133.0)

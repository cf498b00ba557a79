"""The collector of cyclic garbage does not look at what a role has loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from consumers.runtime.collector import spare_hot_path


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_has_been_loaded_is_never_looked_at_again() -> None:
    """After a role has loaded its subscriptions, a pass of the collector costs nothing for any of them."""
    loaded = [[number] for number in range(10_000)]
    spare_hot_path()
    assert gc.get_freeze_count() >= len(loaded)
    assert len(gc.get_objects()) < len(loaded)


def test_cycles_are_still_found() -> None:
    """What refers to itself, and to nothing that is kept, is found after a bounded number of new objects."""
    spare_hot_path()
    assert gc.isenabled()
    assert 0 < gc.get_threshold()[0] <= 100_000

"""The garbage collector does not scan the loaded objects of a role."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from consumers.service.gc_tuning import tune_gc


@pytest.fixture(autouse=True)
def _restored_gc() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_loaded_objects_are_never_scanned_again() -> None:
    """After a role has loaded its subscriptions, a collector pass visits none of them."""
    loaded = [[number] for number in range(10_000)]
    tune_gc()
    assert gc.get_freeze_count() >= len(loaded)
    assert len(gc.get_objects()) < len(loaded)


def test_cycles_are_still_collected() -> None:
    """Unreachable cycles are found after a bounded number of new objects."""
    tune_gc()
    assert gc.isenabled()
    assert 0 < gc.get_threshold()[0] <= 100_000

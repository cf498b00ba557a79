"""Tuning of Python's cyclic garbage collector for a role: many long-lived objects, many short-lived ones, no cycles.

By default it scans new objects every 700 allocations, and all objects whenever a quarter has been added. In delivery
that costs CPU for each job, and pauses in which every response waits.
"""

from __future__ import annotations

import gc
from typing import Final

# Jobs in flight and uncommitted outcomes are some 30,000 objects, which reference counting alone frees.
_NEW_OBJECTS: Final = 50_000


def tune_gc() -> None:
    """Exempt all present objects, the subscriptions above all, from collection, and scan new ones rarely.

    Call this when everything has been loaded. Objects that are dropped later are still freed, as none of them is a
    cycle; cycles that a library leaves are found after some 50,000 objects.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)

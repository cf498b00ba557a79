"""The pytest-xdist scheduler for tests in several processes; tests/support/spread.py defines the units of work."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.spread import unit_of

_AHEAD: Final = 2  # as in the library's own scheduler


class Spread(LoadScopeScheduling):
    """Assigns units in order, the next one to the process that is nearly done."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid, self.config.rootpath)

    def _reschedule(self, node: WorkerController) -> None:
        """Assign units to a process: it starts a test only when it knows the next one, or that there is none."""
        while not node.shutting_down and (not self.workqueue or self._pending_of(self.assigned_work[node]) <= _AHEAD):
            super()._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Assign the unfinished tests of a crashed process to others; return the test in which it crashed.

        Finished tests are not assigned again: the library's own method assigns such units as well, which run nothing,
        and then waits forever for their end.
        """
        workload = self.assigned_work.pop(node)
        left = {unit: [test for test, done in tests.items() if not done] for unit, tests in workload.items()}
        crashed, *others = [test for tests in left.values() for test in tests] or [None]
        for test in reversed(others):
            assert test is not None
            self.workqueue.setdefault(self._split_scope(test), {})[test] = False
            self.workqueue.move_to_end(self._split_scope(test), last=False)
        for living in self.assigned_work:
            self._reschedule(living)
        return crashed

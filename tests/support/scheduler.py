"""The scheduler of tests in several processes: units of work as tests/support/spread.py names them."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.spread import unit_of

_AHEAD: Final = 2  # as many as the library's own scheduler


class Spread(LoadScopeScheduling):
    """Hands out one unit after the other, the next one to whichever process is about to be done."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid, self.config.rootpath)

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process what it needs to go on: it begins a test when it knows the next one, or that there is none."""
        while not node.shutting_down and (not self.workqueue or self._pending_of(self.assigned_work[node]) <= _AHEAD):
            super()._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Hand out again what a process left that died, but for the test that it died of; return that.

        What it had done counts as done: the library's own form hands out such units as well, which run nothing, and
        then waits for their end for ever.
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

"""Reports what the router waits for: a log line when a wait begins and when it ends, and gauges.

A wait of the whole process has a reason. A partition that is paused before a record has its own (paused_partitions.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from consumers.router.paused_partitions import PAUSE_KINDS, PartitionPause, PausedPartitions
from consumers.service.metrics import RouterMetrics

_log = structlog.get_logger("router")
# Joining the group and a broker that restarts take less.
LOG_AFTER_S: Final = 5.0
# A broker that is slow for hours would fill the log.
_LOG_AGAIN_S: Final = 60.0


class WaitReport:
    """Logs each wait once; called in each turn of the loop."""

    def __init__(self, paused: PausedPartitions, metrics: RouterMetrics) -> None:
        self._paused = paused
        self._metrics = metrics
        self._reason: str | None = None
        self._since_s = 0.0
        self._logged = False
        self._log_again_s: dict[str, float] = {}
        self._waits_for_registry = False

    def turn(self, reason: str | None, now_s: float) -> None:
        """Report the wait of the process, None if it does not wait, and the paused partitions."""
        self._report_process(reason, now_s)
        began, ended = self._paused.changes()
        if began or ended:
            self._report_partitions(began, ended)

    def _report_process(self, reason: str | None, now_s: float) -> None:
        if reason != self._reason:
            if self._logged:
                _log.info("router.resumed", after=self._reason)
            self._reason = reason
            self._since_s = now_s
            self._logged = False
        if reason is None or self._logged or now_s - self._since_s < LOG_AFTER_S:
            return
        if now_s >= self._log_again_s.get(reason, 0.0):
            self._logged = True
            self._log_again_s = {reason: now_s + _LOG_AGAIN_S}
            _log.warning("router.paused", reason=reason)

    def _report_partitions(self, began: list[PartitionPause], ended: list[PartitionPause]) -> None:
        kinds = Counter(pause.kind for pause in self._paused.pauses().values())
        for kind in PAUSE_KINDS:
            self._metrics.set_paused_partitions(kind, kinds[kind])
        self._report_registry(kinds["schema_registry"] > 0, began)
        for pause in ended:
            _log.info("partition.resumed", kind=pause.kind, **_place(pause))
        for pause in began:
            _log.warning("partition.paused", kind=pause.kind, reason=pause.reason, **_place(pause))

    def _report_registry(self, waits: bool, began: list[PartitionPause]) -> None:
        if waits == self._waits_for_registry:
            return
        self._waits_for_registry = waits
        self._metrics.set_waiting_for_registry(waits)
        if waits:
            error = next(pause.reason for pause in began if pause.kind == "schema_registry")
            _log.warning("registry.disconnected", error=error, waiting=True)
        else:
            _log.info("registry.connected")


def _place(pause: PartitionPause) -> dict[str, object]:
    topic, partition = pause.key
    return {"topic": topic, "partition": partition, "offset": pause.offset}

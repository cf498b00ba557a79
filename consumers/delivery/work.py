"""A job that was read and is not finished yet."""

from __future__ import annotations

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.lane import Lane
from schemas.delivery import UNKNOWN_OFFSET, Job


class Work(AdmittedTask):
    """A job, the record it was read from, and while a request runs what it was started with."""

    __slots__ = ("endpoint", "job", "lane", "mark", "offset", "started_ms", "value")

    def __init__(self, job: Job, lane: Lane, offset: int, value: bytes) -> None:
        self.endpoint_state = None  # as AdmittedTask.__init__ does: the call would cost 0.15 µs a job
        self.permit = None
        self.job = job
        self.lane = lane
        self.offset = offset
        self.value = value
        self.endpoint: Endpoint | None = None
        self.started_ms = 0
        self.mark: int | None = None  # of the table, when its subscription record was missed first

    @property
    def first_offset(self) -> int:
        """Offset of the job's first record in `jobs.0s`, where its body can be read again."""
        return self.offset if self.job.first_offset == UNKNOWN_OFFSET else self.job.first_offset

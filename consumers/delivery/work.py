"""A job that was read and is not finished yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.lane import Lane
from schemas.delivery import UNKNOWN_OFFSET, Job


@dataclass(slots=True, eq=False)
class Work:
    """A job, the record it was read from, and while a request runs what it was started with."""

    job: Job
    lane: Lane
    offset: int
    value: bytes
    endpoint: Endpoint | None = None
    started_ms: int = 0
    pace: Any = None  # of its endpoint, while it waits or runs (pacing.Paced)
    ticket: int | None = None
    mark: int | None = None  # of the table, when its subscription record was missed first

    @property
    def first_offset(self) -> int:
        """Offset of the job's first record in `jobs.0s`, where its body can be read again."""
        return self.offset if self.job.first_offset == UNKNOWN_OFFSET else self.job.first_offset
